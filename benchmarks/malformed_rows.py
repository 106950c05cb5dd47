"""Malformed rows of every format, each through what reads rows before training, and through what `synth` reads them with.

A row is accepted, left out with its file, row and field in the side file, or ends the run with an error that names them. Anything
else counts as a traceback; a row that takes longer than a limit hangs.
"""

import contextlib
import io
import json
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


LIMIT = 120  # seconds after which reading a file hangs
ROWS_A_FILE = 50
SHOWN = 8  # faults


class Hangs(BaseException):
    """Reading took too long."""


class Reader:
    """Reads files of one kind of rows, as its stage does: checked, converted, tokenised, collated by the host's plugin."""

    def __init__(self, kind: Any, work: Path, world: Path) -> None:
        """Load tokenizer and template once."""
        from llamafactory.data import get_template_and_fix_tokenizer
        from llamafactory.hparams import get_train_args
        from llamafactory.model import load_tokenizer

        from llamafactory_hind.trainers.host import HostArguments

        self.kind, self.work = kind, work
        entry = {"file_name": "rows.jsonl", **kind.entry}  # `bombs` has another file
        (work / "dataset_info.json").write_text(json.dumps({"rows": entry}))
        settings = {
            **{"model_name_or_path": str(world / "tiny"), "template": "qwen2_vl", "dataset": "rows", "do_train": True},
            **{"dataset_dir": str(work), "media_dir": str(world), "output_dir": str(work / "out"), "cutoff_len": 2048},
            **{"cache_dir": str(work / "cache"), "finetuning_type": "full", "report_to": "none", "use_cpu": True},
            **{"skip_bad_rows": True, "overwrite_cache": True, **kind.settings},
        }
        self.args = HostArguments(*get_train_args(settings))
        self.module = load_tokenizer(self.args.model)
        self.template = get_template_and_fix_tokenizer(self.module["tokenizer"], self.args.data)

    def read(self, texts: list[str]) -> tuple[int, int]:
        """Write lines and read them; return how many rows are good and how many are listed as bad.

        Raises:
            Exception: whatever ends the reading.
        """
        content = "\n".join(texts).encode("utf-8", "surrogatepass")
        (self.work / "rows.jsonl").write_bytes(content)
        return self.read_whole(collate=False)

    def read_whole(self, *, collate: bool = True) -> tuple[int, int]:
        """Read the file that is there; see `read`.

        Args:
            collate: open the media of the good rows, as a batch of training does.
        """
        from llamafactory_hind.trainers.rows import read_rows

        for file in (self.work / "out" / "bad_rows").glob("*.jsonl"):
            file.unlink()
        with contextlib.redirect_stdout(io.StringIO()):  # the host prints an example
            rows = read_rows(self.args, self.template, self.module)["train_dataset"]
        listed = list(self._listed())
        for entry in listed:
            if not (entry["file"] and entry["row"] and entry["field"] and entry["reason"]):
                raise AssertionError(f"a bad row without a name: {entry}")
        for row in rows if collate else ():
            media = [row[kind] or [] for kind in ("images", "videos", "audios")]
            counts = [[len(items)] for items in media]
            self.template.mm_plugin.get_mm_inputs(*media, *counts, [row["prompt_input_ids"]], self.module["processor"])
        return len(rows), len({entry["row"] for entry in listed})

    def _listed(self) -> Iterator[dict[str, Any]]:
        for file in (self.work / "out" / "bad_rows").glob("*.jsonl"):
            for line in file.read_text(encoding="utf-8").split("\n"):
                if line:
                    yield json.loads(line)


def is_named(error: BaseException) -> bool:
    """Whether an error is ours and says file, row and field, or the key that a column takes away."""
    from llamafactory_hind.config.problem import ConfigError
    from llamafactory_hind.formats.problems import BadRowsError, NoRowsLeft
    from llamafactory_hind.storage.rows import RowsError

    text = str(error)
    return (
        isinstance(error, ConfigError | BadRowsError | NoRowsLeft | RowsError)
        and "rows." in text
        and len(text) < 100_000
    )


class Tally:
    """Reads lines, many at a time; where reading ends with an error, they are read in halves, down to one."""

    def __init__(self, reader: Any) -> None:
        """Start with nothing."""
        self.reader, self.ends = reader, Counter[str]()
        self.faults: list[str] = []

    def take(self, texts: list[str]) -> None:
        """Read some lines; a blank one is no row."""
        texts = [text for text in texts if text.strip()]
        if not texts:
            return
        try:
            good, bad = limited(lambda: self.reader.read(texts))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if len(texts) > 1:
                self._halves(texts)
                return
            self._judge(error, texts[0])
            return
        lost = sum(bool(text.strip()) for text in texts) - good - bad
        if lost > 0 and len(texts) > 1:
            self._halves(texts)
            return
        self.ends.update({"accepted": good, "left out, named": bad, "lost": max(lost, 0)})
        if lost > 0:
            self.faults.append(f"{lost} of {len(texts)} rows are lost: {texts[0][:300]}")

    def _halves(self, texts: list[str]) -> None:
        self.take(texts[: len(texts) // 2])
        self.take(texts[len(texts) // 2 :])

    def _judge(self, error: BaseException, text: str) -> None:
        if is_named(error):
            self.ends["refused, named"] += 1
            return
        self.ends["hangs" if isinstance(error, Hangs) else "traceback"] += 1
        trace = "".join(traceback.format_exception(error)[-3:])
        self.faults.append(f"{type(error).__name__}: {str(error)[:500]}\n{text[:600]}\n{trace[-1500:]}")


def limited(work: Any) -> Any:
    """Do some work within the limit."""

    def alarm(*_: Any) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(LIMIT)
    try:
        return work()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class SynthReader:
    """Reads the same files as `synth` does."""

    def __init__(self, kind: Any, work: Path, world: Path) -> None:
        """Take the folder of the other reader."""
        self.work, self.world, self.formatting = work, world, kind.entry["formatting"]

    def read(self, texts: list[str]) -> tuple[int, int]:
        """Return how many rows are good and how many are failures with file, number and reason.

        Raises:
            Exception: whatever ends the reading.
        """
        from llamafactory_hind.pipelines.runner.rows import read_rows

        (self.work / "rows.jsonl").write_bytes("\n".join(texts).encode("utf-8", "surrogatepass"))
        places = {"dataset_dir": str(self.work), "media_dir": str(self.world)}
        rows, failures = read_rows(["rows"], **places, max_samples=None, formatting=self.formatting)
        if not all(failure.file and failure.number and failure.reason for failure in failures):
            raise AssertionError(f"a failure without a name: {failures[0]}")
        return len(rows), len(failures)


def malformed_rows(work: Path, count: int, seed: int, only: str | None = None) -> bool:
    """Read `count` malformed rows, as many of each format; report and return whether each was accepted or named."""
    import logging
    import os

    from conftest import build_small_world

    from shared.row_mutations import kinds, lines
    from shared.store import kept

    for switch in ("HF_HUB_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "DISABLE_VERSION_CHECK"):
        os.environ.setdefault(switch, "1")
    logging.disable(logging.WARNING)
    world = kept("world", build_small_world)
    image = sorted((world / "images").glob("*.png"))[0].name
    clip = next((world / "clips").glob("*.mp4")).name
    all_kinds = [kind for kind in kinds(f"images/{image}", f"clips/{clip}") if only in (None, kind.name)]
    total: Counter[str] = Counter()
    faults = []
    for number, kind in enumerate(all_kinds):
        folder = work / kind.name
        folder.mkdir()
        draw = random.Random(f"{seed} {kind.name}")
        began = time.perf_counter()
        readers = [Reader(kind, folder, world)]
        if kind.entry["formatting"] != "sharegpt":
            readers.append(SynthReader(kind, folder, world))
        tallies = [Tally(reader) for reader in readers]
        share = count * (number + 1) // len(all_kinds) - count * number // len(all_kinds)
        for start in range(0, share, ROWS_A_FILE):
            texts = [json.dumps(kind.rows[0]), *lines(kind, draw, min(ROWS_A_FILE, share - start))]
            for tally in tallies:
                tally.take(texts)
        seconds = time.perf_counter() - began
        for name, tally in zip(("train", "synth"), tallies, strict=False):
            print(f"{kind.name}, {name}: {share} rows, {dict(sorted(tally.ends.items()))}", flush=True)
            faults += [f"{kind.name}, {name}: {fault}" for fault in tally.faults]
            total.update(tally.ends)
        print(f"  {seconds:.0f} s", flush=True)
    for fault in faults[:SHOWN]:
        print(f"\n{fault}", file=sys.stderr)
    print(
        f"{count} malformed rows, seed {seed}, both ways: {dict(sorted(total.items()))} (good rows between them included)"
    )
    return not (total["traceback"] or total["hangs"] or total["lost"])
