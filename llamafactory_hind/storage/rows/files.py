"""Which files hold the rows, and their bytes in blocks: plain or gzip, without byte order mark."""

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence

from .problems import damaged


JSON, CSV, PARQUET, ARROW = "json", "csv", "parquet", "arrow"
KINDS = {
    **{".json": JSON, ".jsonl": JSON, ".ndjson": JSON},
    **{".csv": CSV, ".tsv": CSV, ".parquet": PARQUET, ".arrow": ARROW},
}
BLOCK_BYTES = 1 << 18  # values of a block should stay in the processor's cache
LONGEST_ROW = 1 << 29  # [ours] bytes; a small gzip file may unpack to a line of any length
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def list_files(paths: Paths) -> list[str]:
    """Return the files of the given files and folders, in order.

    The parts of a folder come sorted by name (`part-10` before `part-2`); hidden files and folders in it are left out.

    Raises:
        RowsError: there is no such path, a folder has no parts, or a file is of no known type.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = [file for path in given for file in _parts(os.fspath(path))]
    for file in files:
        kind_of(file)
    return files


def _parts(path: str) -> list[str]:
    if not os.path.isdir(path):
        if not os.path.isfile(path):
            raise damaged(path, "no such file", "a file or a folder of files", "correct the path")
        return [path]
    names = sorted(name for name in os.listdir(path) if not name.startswith((".", "_")))
    parts = [os.path.join(path, name) for name in names if os.path.isfile(os.path.join(path, name))]
    if not parts:
        raise damaged(path, "a folder without files", "a folder of parts", "correct the path")
    return parts


def kind_of(file: str) -> str:
    """Return the file's kind from its name: `json`, `csv`, `parquet` or `arrow`.

    Raises:
        RowsError: it has no known ending.
    """
    name = file.lower()
    kind = KINDS.get(os.path.splitext(name.removesuffix(".gz"))[1])
    if kind is None or (name.endswith(".gz") and kind in (PARQUET, ARROW)):
        endings = ", ".join(KINDS) + "; .gz behind those of text"
        raise damaged(file, f"the ending of `{os.path.basename(file)}`", f"one of {endings}", "rename or convert it")
    return kind


def is_tab_separated(file: str) -> bool:
    """Say whether the cells of a `csv` file are between tabs."""
    return file.lower().removesuffix(".gz").endswith(".tsv")


def read_blocks(file: str) -> Iterator[tuple[bytes, int]]:
    """Yield (bytes, their offset) of a text file in blocks, unpacked, from behind the byte order mark.

    Raises:
        RowsError: it cannot be read or unpacked, or is UTF-16.
    """
    with reading(file), gzip.open(file) if file.lower().endswith(".gz") else open(file, "rb") as opened:
        block = opened.read(BLOCK_BYTES)
        if (encoding := OTHER_ENCODINGS.get(block[:2])) is not None:
            raise damaged(file, f"{encoding} text", "UTF-8", "save the file as UTF-8")
        offset = len(BYTE_ORDER_MARK) if block.startswith(BYTE_ORDER_MARK) else 0
        block = block[offset:] or opened.read(BLOCK_BYTES)
        while block:
            yield block, offset
            offset += len(block)
            block = opened.read(BLOCK_BYTES)


@contextlib.contextmanager
def reading(file: str) -> Iterator[None]:
    """Name the file in what the operating system or gzip says."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(
            file, f"{type(error).__name__}: {error}", "a file that can be read", "correct the file"
        ) from None


def refuse_long(file: str, size: int, where: str) -> None:
    """Stop at a row that is too long to be one.

    Args:
        file: its path.
        size: bytes of the row so far.
        where: it begins, for the error.

    Raises:
        RowsError: it is longer than `LONGEST_ROW`.
    """
    if size > LONGEST_ROW:
        got = f"a row of more than {LONGEST_ROW >> 20} MiB, {where}"
        raise damaged(file, got, "rows of at most that", "end the row, or keep large media in files of their own")


def read_lines(file: str) -> Iterator[tuple[bytes, int]]:
    r"""Yield (whole lines, their offset) in blocks; lines end at `\n` alone, and the last one's `\n` is cut off.

    Raises:
        RowsError: the file cannot be read, or a line is longer than `LONGEST_ROW`.
    """
    pieces: list[bytes] = []
    offset: int | None = None
    for block, begin in read_blocks(file):
        offset = begin if offset is None else offset
        cut = block.rfind(b"\n")
        if cut < 0:
            pieces.append(block)
            refuse_long(file, begin + len(block) - offset, f"from byte {offset} on")
            continue
        yield b"".join([*pieces, block[:cut]]), offset
        pieces = [block[cut + 1 :]]
        offset = begin + cut + 1
    if last := b"".join(pieces):
        yield last, offset or 0
