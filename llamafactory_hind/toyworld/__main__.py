"""``python -m llamafactory_hind.toyworld --out DIR [--seed N] [--size small|base] [--only-styles]``."""

import argparse
from pathlib import Path

from rich.console import Console

from .build import SIZES, build
from .report import plain_table


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and build the world."""
    parser = argparse.ArgumentParser(prog="python -m llamafactory_hind.toyworld", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other creatures, facts and scenes")
    parser.add_argument(
        "--size", choices=sorted(SIZES), default="base", help="small: a handful of everything, for tests"
    )
    parser.add_argument(
        "--only-styles", action="store_true", help="add what gated_distill needs to a world of this seed that lacks it"
    )
    args = parser.parse_args(argv)
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / "kb.json").is_file():
        parser.error(
            f"--out: got {args.out}, which holds something else; give a new folder, or one with such a world."
        )
    counts = build(args.out, seed=args.seed, size=args.size, only_styles=args.only_styles)
    Console().print(plain_table(None, ("dataset", "rows"), [(name, str(rows)) for name, rows in counts.items()]))
    print(f"wrote {args.out} (untrained checkpoint: {args.out / 'tiny'})")


if __name__ == "__main__":
    main()
