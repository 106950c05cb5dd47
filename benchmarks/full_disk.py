"""A full disk below each kind of file: one line, an exit status that is not 0, and earlier work whole.

A file system of a few pages is mounted where a file goes (this needs the right to mount) and filled up. Once there is room, the same
command must end as one that always had room.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from killed_runs import Runs
from killed_synth import COMMAND, SynthRuns


PAGE = 4096
SCORE = "import sys; from llamafactory_hind.evaluation.score import run_score; run_score(sys.argv[1:])"
TRACEBACK = "Traceback (most recent call last)"
STEPS_KB = (0, 4, 12, 20, 32, 44, 56, 68, 80, 92, 104, 160)  # that `synth` may still write; the last is enough


@contextmanager
def small_disk(place: Path, *, free: int) -> Iterator[Path]:
    """Mount a file system with so many bytes left."""
    place.mkdir(parents=True, exist_ok=True)
    size = free + 16 * PAGE
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        (place / "ballast").write_bytes(bytes(16 * PAGE))
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def make_room(place: Path) -> None:
    """Give a small file system a gigabyte."""
    subprocess.run(["mount", "-o", "remount,size=1g", str(place)], check=True)


def judged(process: Any, *, may_go_on: bool = False) -> str | None:
    """Return what is wrong with the end of a run whose disk was full; None where it is right."""
    (status,) = process.wait()
    said = process.log.read_text(errors="replace")
    if TRACEBACK in said:
        return "a traceback: " + said.rpartition(TRACEBACK)[2].strip().split("\n")[-1][:300]
    if status == 0:
        return None if may_go_on else "it ended with status 0"
    words = ("not written", "not saved", "the disk is full", "larger than is allowed", "Free some disk space")
    lines = [line for line in said.splitlines() if any(word in line for word in words)]
    return None if lines else f"no line about the disk: {said.strip().splitlines()[-1][:300]}"


def trainings() -> Iterator[tuple[str, str, dict[str, Any], str, bool]]:
    """Yield (kind of file, stage, changes, place below the output folder or name of a key, whether the run may go on without)."""
    yield "completions", "grpo", {}, "completions/", False
    yield "texts of the teacher", "gated_distill", {}, "hints/", False
    yield "cache of reference log-probs", "kepo", {}, "ref_logps_cache", False
    yield "plots", "reason_sft", {"plot_loss": True}, "training_loss.png", False
    yield "trainer_log.jsonl", "reason_sft", {}, "trainer_log.jsonl", True
    yield "table of rows, verdicts on media", "reason_sft", {}, "cache_dir", False
    yield "tokenised rows", "reason_sft", {}, "tokenized_path", False
    yield "the run's own folder", "reason_sft", {}, "./", False
    yield "bad rows", "grpo", {"dataset": "some_bad", "skip_bad_rows": True}, "bad_rows/", False


def one_training(work: Path, kind: str, stage: str, changes: dict[str, Any], place: str, may_go_on: bool) -> list[str]:
    """Run a stage with a full disk at a place, then with room; return what is wrong."""
    work.mkdir()
    runs = Runs(work, stage, **changes)
    out, disk = work / "out", work / "disk"
    is_key = "." not in place and not place.endswith("/")
    if not is_key:
        out.mkdir()
    if place.endswith("/"):
        disk = out / place
    with small_disk(disk, free=0):
        if is_key:
            runs.settings[place] = str(disk / ("file.jsonl" if place == "ref_logps_cache" else "folder"))
        elif not place.endswith("/"):
            (out / place).symlink_to(disk / Path(place).name)
        wrong = [problem] if (problem := judged(runs.start(out), may_go_on=may_go_on)) else []
        make_room(disk)
        runs.start(out).finish()
        if is_key:
            runs.settings[place] = str(work / "elsewhere")
        runs.start(runs.whole).finish()
        if found := runs.differences(out):
            wrong.append(f"not bit-equal with room: {found[:3]}")
    return wrong


def checkpoint(work: Path) -> list[str]:
    """Refuse files as large as an optimizer's state, once there is a whole checkpoint; return what is wrong."""
    from shared.killing import ARMED
    from shared.stages import TRAIN, written
    from shared.warm import Processes

    work.mkdir()
    runs, out = Runs(work, "grpo"), work / "out"
    runs.start(runs.whole).finish()
    size = (runs.whole / "checkpoint-1" / "optimizer.pt").stat().st_size
    wrong = []
    for what, limit in (("optimizer", size - 1), ("weights", (runs.whole / "model.safetensors").stat().st_size - 1)):
        limits = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        words = [str(written({**runs.settings, "output_dir": str(out)}, work / "run"))]
        if problem := judged(Processes(limits + ARMED + TRAIN, words, work / "limited.log")):
            wrong.append(f"{what}: {problem}")
    runs.start(out).finish()
    return wrong + ([f"not bit-equal: {found[:3]}"] if (found := runs.differences(out)) else [])


def synth(work: Path) -> list[str]:
    """Leave `synth` more and more room: its journal, its rows, its registration fail in turn; return what is wrong."""
    from shared.warm import Processes

    work.mkdir()
    runs = SynthRuns(work)
    runs.start(runs.whole).finish()
    wrong, refused = [], 0
    for number, kilobytes in enumerate(STEPS_KB):
        with small_disk(work / f"disk{number}", free=kilobytes << 10) as disk:
            words = [f"{key}={value}" for key, value in {**runs.words, "output": disk / "o.jsonl"}.items()]
            words.append(f"output_dataset=full{number}")
            process = Processes(COMMAND, words, work / "full.log")
            problem = judged(process, may_go_on=True)
            refused += process.wait() != [0]
            make_room(disk)
            Processes(COMMAND, words, work / "room.log").finish()
            found = [] if problem is None else [problem]
            wrong += [
                f"{kilobytes} kB: {one}" for one in found + [f"{name} differs" for name in runs.differences(disk)]
            ]
    print(f"  synth: refused {refused} of {len(STEPS_KB)} times")
    return wrong if refused < len(STEPS_KB) else [*wrong, "there was never room"]


def score(work: Path) -> list[str]:
    """Leave `score` more and more room; return what is wrong."""
    from shared.warm import Processes

    work.mkdir()
    rows = [{"id": f"r{number}", "prediction": "moss", "answers": ["moss"] * 3} for number in range(200)]
    (work / "rows.json").write_text(json.dumps(rows))
    words = ["metric=vqa_accuracy", f"predictions={work / 'rows.json'}", f"output={work / 'o.json'}"]
    Processes(SCORE, words, work / "whole.log").finish()
    wrong, refused = [], 0
    for number, kilobytes in enumerate(STEPS_KB[:8]):
        with small_disk(work / f"disk{number}", free=kilobytes << 10) as disk:
            process = Processes(SCORE, [*words[:2], f"output={disk / 'o.json'}"], work / "full.log")
            problem = judged(process, may_go_on=True)
            refused += process.wait() != [0]
            make_room(disk)
            Processes(SCORE, [*words[:2], f"output={disk / 'o.json'}"], work / "room.log").finish()
            same = [numbers(folder) for folder in (disk, work)]
            found = [problem] if problem else []
            wrong += [f"{kilobytes} kB: {one}" for one in found + ["not equal with room"] * (same[0] != same[1])]
    print(f"  score: refused {refused} of 8 times")
    return wrong if 0 < refused < 8 else [*wrong, "always or never refused"]


def numbers(folder: Path) -> tuple[Any, bytes]:
    """Return what `score` wrote, without its settings."""
    return json.loads((folder / "o.json").read_text())["metrics"], (folder / "o.questions.jsonl").read_bytes()


def full_disk(work: Path, only: str | None = None) -> bool:
    """Fill the disk below each kind of file, or one; report and return whether each run ended with one line and lost nothing."""
    good = True
    kinds: list[tuple[str, Any]] = [
        ("checkpoint", lambda place: checkpoint(place)),
        ("synth", lambda place: synth(place)),
        ("score", lambda place: score(place)),
    ]
    for kind, stage, changes, where, may_go_on in trainings():
        kinds.append(
            (
                f"{kind} ({stage})",
                lambda place, rest=(kind, stage, changes, where, may_go_on): one_training(place, *rest),
            )
        )
    for number, (kind, measure) in enumerate(kinds):
        if only not in (None, kind.partition(" (")[0]):
            continue
        wrong = measure(work / f"d{number}")
        good = good and not wrong
        print(f"{kind}: {wrong or 'one line, nothing lost'}", flush=True)
    return good
