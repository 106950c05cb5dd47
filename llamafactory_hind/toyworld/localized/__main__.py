"""``python -m llamafactory_hind.toyworld.localized --out DIR [--seed N] [--size small|base]``."""

import argparse
from pathlib import Path

from rich.console import Console

from ..report import plain_table
from .build import SIZES, build


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and build the world."""
    parser = argparse.ArgumentParser(prog="python -m llamafactory_hind.toyworld.localized", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other pictures and first weights")
    parser.add_argument(
        "--size", choices=sorted(SIZES), default="base", help="small: a handful of everything, for tests"
    )
    args = parser.parse_args(argv)
    counts = build(args.out, seed=args.seed, size=args.size)
    Console().print(plain_table(None, ("dataset", "rows"), [(name, str(rows)) for name, rows in counts.items()]))
    print(f"wrote {args.out} (untrained checkpoint: {args.out / 'tiny'})")


if __name__ == "__main__":
    main()
