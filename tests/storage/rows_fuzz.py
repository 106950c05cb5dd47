"""Reads damaged files, in a process of its own: `python rows_fuzz.py FOLDER SEED COUNT`. Only `RowsError` may come of them.

Prints as JSON how many files of each kind were read whole, in part, or refused; any other error ends the process.
"""

import faulthandler
import gzip
import io
import json
import random
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llamafactory_hind.storage.rows import RowsError, decode, files, iterate, to_arrow


SECONDS_A_FILE = 20
ROWS = [
    {
        "id": f"r{i}",
        "videos": [None, "x"],
        "question": 'a "b" \\ é\u2028',
        "n": i,
        "p": -0.5 * i,
        "external": [{"t": "1", "l": None}],
    }
    for i in range(12)
]
TOKENS = [
    b'"',
    b"\\",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"null",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e9",
    b"NaN",
]
TOKENS += [b"9" * 20, b"\\ud800", b"\xe2\x80\xa8", b'"id":1,', b'[null,"x"]', b"{}", b"[" * 60, b"-", b"true"]


def originals() -> dict[str, bytes]:
    """File name -> content of a whole file."""
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
    cells = "id,question\n" + "".join(f'{row["id"]},"{i}\n""x"" é"\n' for i, row in enumerate(ROWS))
    table = pa.Table.from_pylist(ROWS)
    parquet, stream, file = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    for new, sink in ((pa.ipc.new_stream, stream), (pa.ipc.new_file, file)):
        with new(sink, table.schema) as writer:
            writer.write_table(table)
    return {
        **{"a.jsonl": lines, "a.json": json.dumps(ROWS).encode(), "b.json": json.dumps(ROWS, indent=1).encode()},
        **{"a.jsonl.gz": gzip.compress(lines), "a.csv": cells.encode(), "a.parquet": parquet.getvalue()},
        **{"a.arrow": stream.getvalue(), "b.arrow": file.getvalue()},
    }


def damage(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat, move and insert, up to four times."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.randint(1, 30))
        kind = chance.randrange(6)
        if kind == 0 and start < len(data):
            data[start] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[start:stop]
        elif kind == 2:
            data[start:start] = data[start:stop]
        elif kind == 3:
            data[start:start] = chance.choice(TOKENS)
        elif kind == 4:
            data[start:stop] = chance.choice(TOKENS)
        elif chance.random() < 0.3:
            del data[start:]
    return bytes(data)


def read(path: Path, out: Path) -> str:
    """Read a file in both ways; say how far it went."""
    problems: list = []
    rows = [row.values for row in iterate(path, on_bad=problems.append)]
    if path.name == "a.jsonl":
        compare_with_json(path, rows, len(problems))
    told: list = []
    converted = to_arrow(path, out, strict=(), on_bad=told.append)
    table = pa.ipc.open_stream(out.read_bytes()).read_all()
    table.validate(full=True)
    written = [decode(row, converted.json_columns) for row in table.to_pylist()]
    # A field of `null` and numbers beside fractions look otherwise in a table.
    assert len(written) == len(converted.numbers) == len(rows) and len(told) == len(problems), path
    try:
        to_arrow(path, out)
    except RowsError:
        return "in part"
    return "in part" if problems else "whole"


def compare_with_json(path: Path, rows: list, bad: int) -> None:
    """The twin: every row is what `json.loads` makes of its line, and no line is lost."""
    lines = [line for line in path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b" \t\r")]
    if lines and lines[0].strip().startswith(b"["):
        return
    assert len(lines) == len(rows) + bad
    rest = iter(lines)
    for row in rows:
        assert any(same(line, row) for line in rest), (path, row)


def same(line: bytes, row: dict) -> bool:
    """Say whether `json.loads` reads this line as this row."""
    try:
        return json.dumps(json.loads(line.decode())) == json.dumps(row)
    except (ValueError, RecursionError):
        return False


def main(folder: Path, seed: int, count: int) -> None:
    """Damage and read `count` files."""
    chance = random.Random(seed)
    outcomes: dict[str, Counter] = {name: Counter() for name in originals()}
    whole = originals()
    for index in range(count):
        name = chance.choice(list(whole))
        path = folder / name
        path.write_bytes(damage(whole[name], chance))
        files.BLOCK_BYTES = chance.choice([5, 200, 1 << 18])
        faulthandler.dump_traceback_later(SECONDS_A_FILE, exit=True)
        try:
            outcomes[name][read(path, folder / "out.arrow")] += 1
        except RowsError as error:
            assert str(path) in str(error), error
            outcomes[name]["refused"] += 1
        except BaseException:
            print(f"file {index} of seed {seed}: {path}", file=sys.stderr)
            raise
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    faulthandler.enable()
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
