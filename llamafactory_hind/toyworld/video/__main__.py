"""``python -m llamafactory_hind.toyworld.video --out DIR [--seed N] [--size small|base]``."""

from ..command import world_parser, write_world
from .build import SIZES, build


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and build the world."""
    parser = world_parser("python -m llamafactory_hind.toyworld.video", __doc__, SIZES)
    write_world(parser, parser.parse_args(argv), build, mark="rows/video_train.json", checkpoints=("tiny", "larger"))


if __name__ == "__main__":
    main()
