"""``python -m llamafactory_hind.toyworld.localized --out DIR [--seed N] [--size small|base]``."""

from ..command import world_parser, write_world
from .build import SIZES, build


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and build the world."""
    parser = world_parser("python -m llamafactory_hind.toyworld.localized", __doc__, SIZES)
    write_world(parser, parser.parse_args(argv), build, mark="rows/lskd_base.json")


if __name__ == "__main__":
    main()
