"""What `python -m llamafactory_hind.toyworld…` of every world shares: `--out`, `--seed`, `--size`, and a table of what was written."""

import argparse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rich.console import Console

from .report import plain_table


def world_parser(prog: str, description: str | None, sizes: Collection[str]) -> argparse.ArgumentParser:
    """Return the parser of a world's command.

    Args:
        prog: how the command is called.
        description: for `--help`.
        sizes: what `--size` may be; `base` by default.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other media, rows and first weights")
    parser.add_argument(
        "--size", choices=sorted(sizes), default="base", help="small: a handful of everything, for tests"
    )
    return parser


def write_world(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    build: Callable[..., dict[str, int]],
    *,
    mark: str,
    checkpoints: Collection[str] = ("tiny",),
    **settings: Any,
) -> None:
    """Build a world in a new folder, or in one that holds such a world already, and say what was written.

    Args:
        parser: for its errors.
        args: `out`, `seed` and `size`.
        build: of the world.
        mark: a file, from `out`, that each such world has and nothing else.
        checkpoints: folders of untrained models in it.
        settings: more keys of `build`.

    Raises:
        SystemExit: the folder holds something else.
    """
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / mark).is_file():
        parser.error(
            f"--out: got {args.out}, which holds something else; give a new folder, or one with such a world."
        )
    counts = build(args.out, seed=args.seed, size=args.size, **settings)
    Console().print(plain_table(None, ("dataset", "rows"), [(name, str(rows)) for name, rows in counts.items()]))
    print(f"wrote {args.out} (untrained: {', '.join(str(args.out / name) for name in checkpoints)})")
