"""Our reader of rows beside the loaders of `datasets`: time and memory until a dataset is mapped from disk.

    python benchmarks/rows.py [--rows 1000000] [--repeats 3] [--forms lines list csv parquet]

Each measure is a process of its own, ours and `datasets` in turn, so that drift of the machine hits both. Libraries are imported
before the clock starts, the same ones in both. Memory is the peak of the resident set, less what the imports had taken. Rows are
drawn by chance: ten answers, choices in every third, one external action, a fraction; about 500 bytes each.
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peak import peak_kib


ENDINGS = {"lines": ".jsonl", "list": ".json", "csv": ".csv", "parquet": ".parquet"}
GOAL_TIME, GOAL_MEMORY = 1.5, 1.2


def draw_rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield rows as a visual question answering dataset has them."""
    chance = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(2000)]

    def say(length: int) -> str:
        return " ".join(chance.choices(words, k=length))

    for index in range(count):
        yield {
            "id": f"okvqa-{index}",
            "images": [f"images/{index % 5000:06d}.jpg"],
            "question": say(9) + "?",
            "answer": say(1),
            "answers": [say(1) for _ in range(10)],
            "choices": None if index % 3 else [say(2) for _ in range(4)],
            "external": [
                {"source": "gpt-4o", "text": say(12), "logprob": -30 * chance.random() if index % 2 else None}
            ],
            "difficulty": index % 5,
            "confidence": chance.random(),
        }


def write_rows(path: Path, form: str, count: int) -> None:
    """Write the rows in one of the forms; CSV takes the fields that are texts or numbers."""
    rows = draw_rows(count)
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return
    with open(path, "w", encoding="utf-8", newline="") as file:
        if form == "csv":
            writer = csv.writer(file)
            writer.writerow(["id", "question", "answer", "difficulty", "confidence"])
            writer.writerows(
                [row[name] for name in ("id", "question", "answer", "difficulty", "confidence")] for row in rows
            )
        elif form == "list":
            file.writelines(("[" if not index else ",\n") + json.dumps(row) for index, row in enumerate(rows))
            file.write("]")
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def measure(reader: str, path: str, folder: str) -> None:
    """Read a file once and print seconds, processor seconds and MiB; runs in a process of its own."""
    import datasets
    import pandas  # noqa: F401  `datasets` and pyarrow import it late

    from llamafactory_hind.storage.rows import to_arrow

    datasets.disable_progress_bars()
    before = peak_kib()
    wall, processor = time.perf_counter(), time.process_time()
    if reader == "ours":
        target = str(Path(folder) / "rows.arrow")
        to_arrow(path, target)
        dataset = datasets.Dataset.from_file(target)
    else:
        kind = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}[Path(path).suffix]
        dataset = datasets.load_dataset(kind, data_files=[path], split="train", cache_dir=folder)
    times = [time.perf_counter() - wall, time.process_time() - processor]
    peak = peak_kib()
    print(json.dumps([*times, (peak - before) / 1024, peak / 1024, len(dataset)]))


def measure_apart(reader: str, path: Path) -> list[float]:
    """Return what `measure` prints in a new process."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, __file__, "--measure", reader, str(path), folder]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    values: list[float] = json.loads(output.splitlines()[-1])
    return values


def compare(form: str, count: int, repeats: int, folder: Path) -> None:
    """Print medians of both readers and their ratios for one form."""
    path = folder / f"rows{ENDINGS[form]}"
    write_rows(path, form, count)
    print(f"\n{form}: {count} rows, {path.stat().st_size / 2**20:.0f} MiB")
    print(f"{'':10s} {'seconds':>8s} {'processor':>10s} {'MiB':>8s} {'peak MiB':>9s}")
    found: dict[str, list[list[float]]] = {"datasets": [], "ours": []}
    for _ in range(repeats):
        for reader, values in found.items():
            values.append(measure_apart(reader, path))
            if values[-1][-1] != count:
                raise RuntimeError(f"{reader}: got {values[-1][-1]} rows of {path}, expected {count}.")
    medians = {
        reader: [statistics.median(column) for column in zip(*values, strict=True)] for reader, values in found.items()
    }
    for reader, values in medians.items():
        print(f"{reader:10s} {values[0]:8.2f} {values[1]:10.2f} {values[2]:8.0f} {values[3]:9.0f}")
    ratios = [ours / max(theirs, 1e-9) for ours, theirs in zip(medians["ours"], medians["datasets"], strict=True)]
    print(f"{'ratio':10s} {ratios[0]:8.2f} {ratios[1]:10.2f} {ratios[2]:8.2f} {ratios[3]:9.2f}")
    path.unlink()


def main() -> None:
    """Compare the readers for each form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=list(ENDINGS), default=["lines"])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        for form in arguments.forms:
            compare(form, arguments.rows, arguments.repeats, Path(folder))
    print(
        f"\ngoal for JSON lines: time at most {GOAL_TIME}, peak of memory at most {GOAL_MEMORY} of the loader of `datasets`"
    )


if __name__ == "__main__":
    main()
