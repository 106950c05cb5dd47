"""``python -m llamafactory_hind.toyworld --out DIR [--seed N] [--size small|base] [--only-styles]``."""

from .build import SIZES, build
from .command import world_parser, write_world


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and build the world."""
    parser = world_parser("python -m llamafactory_hind.toyworld", __doc__, SIZES)
    parser.add_argument(
        "--only-styles", action="store_true", help="add what gated_distill needs to a world of this seed that lacks it"
    )
    args = parser.parse_args(argv)
    write_world(parser, args, build, mark="kb.json", only_styles=args.only_styles)


if __name__ == "__main__":
    main()
