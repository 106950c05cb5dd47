"""OmniMedVQA (arXiv 2402.09181): multiple choice on medical pictures, split by imaging modality as in KEPO (arXiv 2602.00400).

One modality trains, all are tested. Both splits come from one seeded order of each modality's pictures, the test from its front and
training from its back, so two commands with the same seed share no picture.
"""

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config.problem import show
from ..formats.media.fields import PLACEHOLDERS
from .reading.entries import Entry, ImportRefused, Reader, read_json


SUMMARY = "OmniMedVQA: QA_information/Open-access/*.json, a train or a test split by modality"
FORMATTING = "rollout"
LETTERS = "ABCD"
# Our names for those of the release, which spells them as in `MR (Mag-netic Resonance Imaging)`: what is before the bracket.
MODALITIES = {
    "ct": "CT",
    "dermoscopy": "Dermoscopy",
    "fundus photography": "Fundus",
    "microscopy images": "Microscopy",
    "mr": "MRI",
    "mri": "MRI",
    "oct": "OCT",
    "ultrasound": "Ultrasound",
    "x-ray": "X-Ray",
}
INSTRUCTION = "Think between <think> and </think>, then write the letter of the right option alone between <answer> and </answer>."  # wording is ours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument(
        "--file", type=Path, nargs="+", required=True, help="the released JSON files, or their folder Open-access"
    )
    parser.add_argument("--split", choices=["train", "test"], required=True, help="which of the two to write")
    parser.add_argument("--modality", default="MRI", help="to train on (default: %(default)s)")
    parser.add_argument("--train-items", type=int, default=600, help="of that modality (default: %(default)s)")
    parser.add_argument("--test-items", type=int, default=300, help="of each modality (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    parser.add_argument(
        "--skip-bad-entries", action="store_true", help="leave out entries that cannot be read, and list them"
    )


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the questions of the split that was asked for, in the order of the files.

    Raises:
        ImportRefused: a file or an entry is not of the released form, or a modality has too few questions.
    """
    for option in ("train_items", "test_items"):
        if getattr(arguments, option) < 1:
            got = f"--{option.replace('_', '-')}: got {getattr(arguments, option)}"
            raise ImportRefused("A split needs questions.", [got], "Give 1 or more.")
    entries = _read_all(_files(arguments.file), skip_bad=arguments.skip_bad_entries)
    if arguments.skip_missing_images:  # before they are counted, or a split would come out short
        there = [entry for entry in entries if (arguments.images / entry.images[0]).is_file()]
        print(f"{len(entries) - len(there)} questions left out: their pictures are missing.", file=sys.stderr)
        entries = there
    by_modality = defaultdict(list)
    for entry in entries:
        by_modality[entry.row["modality"]].append(entry)
    if arguments.modality not in by_modality:
        problem = f"--modality: got {arguments.modality!r}, expected one of {', '.join(sorted(by_modality))}"
        raise ImportRefused("The files lack the modality to train on.", [problem], "Give one of those, or more files.")
    picked = pick(by_modality, arguments)
    return [entry for entry in entries if entry.row["id"] in picked]


def pick(by_modality: dict[str, list[Entry]], arguments: argparse.Namespace) -> set[str]:
    """Return the ids of the split: a picture's questions are in one split or in none.

    Raises:
        ImportRefused: a modality has too few questions for both splits.
    """
    train, test, short = set(), set(), []
    for modality, entries in sorted(by_modality.items()):
        pictures = defaultdict(list)
        for entry in entries:
            pictures[entry.images[0]].append(entry.row["id"])
        order = sorted(pictures)  # not that of the files: the split depends on what they hold alone
        random.Random(f"omnimedvqa-{arguments.seed}-{modality}").shuffle(order)
        wanted = arguments.train_items if modality == arguments.modality else 0
        front, back = _enough(order, pictures, arguments.test_items), _enough(order[::-1], pictures, wanted)
        if front is None or back is None or len(front) + len(back) > len(order):
            needed = f"{arguments.test_items} to test" + (f" and {wanted} to train" if wanted else "")
            short.append(f"{modality}: {len(entries)} questions on {len(order)} pictures, expected {needed}")
            continue
        test |= set(_flat(front, pictures)[: arguments.test_items])
        train |= set(_flat(back, pictures)[:wanted])
    if short:
        remedy = "Give all files, or fewer --test-items or --train-items; pictures are never in both splits."
        raise ImportRefused("Modalities have too few questions.", short, remedy)
    return train if arguments.split == "train" else test


def _enough(order: Sequence[str], pictures: dict[str, list[str]], count: int) -> list[str] | None:
    """Return the first pictures that have ``count`` questions together, None where all have fewer."""
    taken: list[str] = []
    found = 0
    for picture in order:
        if found >= count:
            break
        taken.append(picture)
        found += len(pictures[picture])
    return taken if found >= count else None


def _flat(order: Sequence[str], pictures: dict[str, list[str]]) -> list[str]:
    return [row_id for picture in order for row_id in sorted(pictures[picture])]


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the files, those of a folder sorted.

    Raises:
        ImportRefused: a folder has none.
    """
    found = []
    for path in paths:
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise ImportRefused("A folder has no JSON file.", [str(path)], "Give QA_information/Open-access.")
        found += inside
    return found


def _read_all(files: Sequence[Path], *, skip_bad: bool) -> list[Entry]:
    """Return every entry; bad ones are reported all at once, and refused or left out."""
    entries, bad = [], Reader()
    for path in files:
        for number, record in enumerate(read_json(path, list)):
            reader = Reader()
            entry = _read_entry(record, f"{path}, entry {number}", reader)
            bad.problems += reader.problems
            entries += [] if reader.problems else [entry]
    bad.refuse_twins([(entry.row["id"], entry.place) for entry in entries], "question_id")
    seen = defaultdict(set)
    for entry in entries:
        seen[entry.images[0]].add(entry.row["modality"])
    several = {picture for picture, modalities in seen.items() if len(modalities) > 1}
    bad.problems += [
        f"{entry.place}, field `modality_type`: {entry.images[0]} is of {' and '.join(sorted(seen[entry.images[0]]))}"
        for entry in entries
        if entry.images[0] in several
    ]
    if not skip_bad:
        bad.finish()
    elif bad.problems:
        print(
            "\n".join([f"{len(bad.problems)} problems, their entries are left out:", *bad.problems]), file=sys.stderr
        )
    counts = Counter(entry.row["id"] for entry in entries)
    return [entry for entry in entries if entry.images[0] not in several and counts[entry.row["id"]] == 1]


def _read_entry(record: Any, place: str, reader: Reader) -> Entry:
    question = reader.take(record, "question", str, place, default="").replace(PLACEHOLDERS["images"], "").strip()
    picture = reader.take(record, "image_path", str, place, default="?")
    released = reader.take(record, "modality_type", str, place, default="")
    gold = reader.take(record, "gt_answer", str, place, default="").strip()
    choices = _options(record, place, reader)
    named = [letter for letter, text in zip(LETTERS, choices, strict=False) if text == gold]
    if choices and gold and len(named) != 1:
        problem = f"got {show(gold)}, expected the text of exactly one of the options {choices}"
        reader.problems.append(f"{place}, field `gt_answer`: {problem}")
    listed = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    row = {
        "id": f"omnimedvqa-{reader.take(record, 'question_id', str, place, default='')}",
        "images": [picture],
        "prompt": "\n".join([PLACEHOLDERS["images"] + question, *listed, INSTRUCTION]),
        "answer": named[0] if named else "",
        "choices": choices,
        "modality": MODALITIES.get(released.partition("(")[0].strip().casefold(), released),
        "question_type": reader.take(record, "question_type", str, place, default=""),
        "question": question,
        "dataset": reader.take(record, "dataset", str, place, default=""),
        "external": None,
        "hint": None,
    }
    return Entry(place, row, (picture,))


def _options(record: Any, place: str, reader: Reader) -> list[str]:
    """Return the texts of `option_A`, `option_B` and those that follow without a gap; the release leaves the last ones out."""
    fields = record if isinstance(record, dict) else {}
    given = [letter for letter in LETTERS if fields.get(f"option_{letter}") not in (None, "")]
    if len(given) < 2 or given != list(LETTERS[: len(given)]):
        got = ", ".join(f"option_{letter}" for letter in given) or "none"
        reader.problems.append(
            f"{place}, field `option_A`: got {got}, expected two options or more, from A without a gap"
        )
        return []
    return [str(reader.take(record, f"option_{letter}", str, place, default="")).strip() for letter in given]
