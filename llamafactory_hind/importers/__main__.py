"""``python -m llamafactory_hind.importers FAMILY ... --images DIR --out FILE [--dataset-dir DIR --name NAME]``."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.exits import stop
from ..config.problem import ConfigError, listed
from ..formats import get_rows
from ..formats.hindsight.options import TARGETS
from ..storage.atomic import WriteRefused, write_text
from ..storage.dataset_info import entry_problems, register
from ..storage.files import write_rows
from ..storage.outputs import INFO, is_ours, output_problems
from . import get_importer, importer_names
from .reading.entries import Entry
from .reading.faults import ImportRefused, bad_places, collecting
from .reading.media import Placed, place_images


USUAL_ANSWERS = 10


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and import.

    Raises:
        SystemExit: with a message, where a file, an entry or a picture is wrong.
    """
    arguments = build_parser().parse_args(argv)
    try:
        run_import(arguments)
    except (ImportRefused, ConfigError, WriteRefused) as error:
        stop(f"python -m llamafactory_hind.importers {arguments.family}", error)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser: a sub-command for each family."""
    parser = argparse.ArgumentParser(
        prog="python -m llamafactory_hind.importers",
        description="Write a released data set as rows of our formats.",
    )
    families = parser.add_subparsers(dest="family", required=True)
    for name in importer_names():
        importer = get_importer(name)
        family = families.add_parser(name, help=importer.SUMMARY, description=importer.SUMMARY)
        importer.add_arguments(family)
        media = media_of(name)
        family.add_argument(
            f"--{media}",
            dest="images",
            type=Path,
            required=True,
            help=f"folder of the {media}: `media_dir` of later runs",
        )
        family.add_argument(
            "--missing",
            choices=["stop", "skip"],
            default="stop",
            help=f"questions without their {media}: an error, or left out",
        )
        family.add_argument(
            "--bad-rows",
            choices=["stop", "skip"],
            default="stop",
            help="questions that cannot be read or that the format refuses: an error, or left out and named",
        )
        family.add_argument("--out", type=Path, required=True, help="file to write, .json or .jsonl")
        family.add_argument("--skip-missing-images", action="store_true", help="the same as --missing skip")
        family.add_argument(
            "--dataset-dir", type=Path, help="folder of dataset_info.json; without it nothing is registered"
        )
        family.add_argument("--name", help="name in dataset_info.json (default: name of the file)")
        if formatting_of(name) == "hindsight":
            family.add_argument(
                "--target", choices=TARGETS, default="answer", help="`target` there (default: %(default)s)"
            )
    return parser


def run_import(arguments: argparse.Namespace) -> None:
    """Read, check, write and register.

    Raises:
        ImportRefused: with everything of one kind that is wrong; nothing was written.
    """
    if arguments.out.suffix not in (".json", ".jsonl"):
        raise ImportRefused(
            "--out has an unknown file ending.", [str(arguments.out)], "Give a name that ends in .json or .jsonl."
        )
    refuse_outputs(arguments)
    arguments.skip_missing_images |= arguments.missing == "skip"
    skip_bad = arguments.bad_rows == "skip"
    entries = read_entries(arguments, skip_bad=skip_bad)
    media = media_of(arguments.family)
    placed, skipped = place_images(entries, arguments.images, skip_missing=arguments.skip_missing_images, field=media)
    del entries
    formatting = formatting_of(arguments.family)
    placed = without_bad_rows(placed, formatting, skip_bad=skip_bad)
    info = prepare_info(arguments.dataset_dir)
    write_rows(arguments.out, (one.row for one in placed), by="importers")
    word = "pictures" if media == "images" else media
    left_out = f", {skipped} left out: their {word} are missing" if skipped else ""
    print(f"{arguments.out}: {len(placed)} rows{left_out}.")
    entry = {"formatting": formatting}
    if formatting == "hindsight":
        tell_what_is_unusual((one.entry.row for one in placed), arguments.target)
        entry["target"] = arguments.target
    if info is not None:
        name = arguments.name or arguments.out.stem
        register(arguments.dataset_dir, name, entry, arguments.out, by="importers")
        print(f"Registered as `{name}` in {info}; give `media_dir: {arguments.images}` with it.")


def read_entries(arguments: argparse.Namespace, *, skip_bad: bool) -> list[Entry]:
    """Return the questions of the released files; those that are wrong are refused, or left out and named.

    Raises:
        ImportRefused: with everything of one kind that is wrong; nothing was written.
    """
    if skip_bad and hasattr(arguments, "skip_bad_entries"):  # this family names what it leaves out itself
        arguments.skip_bad_entries = True
    with collecting(skip=skip_bad) as faults:
        entries = get_importer(arguments.family).read_entries(arguments)
    if not entries and not faults.problems:
        raise ImportRefused("The files have no question.", [], "Give the released files.")
    if not faults.problems:
        return entries
    bad = bad_places(faults.problems, {entry.place for entry in entries} | set(faults.noted.values()))
    return leave_out(entries, [entry for entry in entries if entry.place not in bad], faults.problems)


def leave_out(given: Sequence[Any], kept: list[Any], problems: Sequence[str]) -> list[Any]:
    """Name what is left out, and return what is kept.

    Raises:
        ImportRefused: nothing is kept.
    """
    if not kept:
        raise ImportRefused(f"All {len(given)} questions are bad.", problems, "Give the released files.")
    print(f"{len(problems)} problems; the questions that have them are left out:{listed(problems)}", file=sys.stderr)
    return kept


def refuse_outputs(arguments: argparse.Namespace) -> None:
    """Stop before anything is read, where the file or the name to write is somebody else's.

    Raises:
        ConfigError: names the file.
    """
    by = "importers"
    inputs = {f"--{key.replace('_', '-')}": _paths(value) for key, value in vars(arguments).items() if key != "out"}
    problems = list(output_problems("--out", [arguments.out], inputs, by=by))
    if arguments.dataset_dir is not None:
        inputs = {INFO: [arguments.dataset_dir / INFO]}
        problems += output_problems("--out", [arguments.out], inputs, by=by)
        name, own = arguments.name or arguments.out.stem, is_ours(arguments.out, by=by)
        problems += entry_problems("--name", arguments.dataset_dir, [name], [arguments.out], by=by, own=own)
    if problems:
        raise ConfigError(list({str(problem): problem for problem in problems}.values()))


def _paths(value: Any) -> list[Path]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Path)]


def media_of(family: str) -> str:
    """Return what the rows of a family show: `images` or `videos`."""
    return getattr(get_importer(family), "MEDIA", "images")


def formatting_of(family: str) -> str:
    """Return the format of the rows that a family becomes."""
    return getattr(get_importer(family), "FORMATTING", "hindsight")


def tell_what_is_unusual(rows: Iterable[Mapping[str, Any]], target: str) -> None:
    """Say which `hindsight` rows lack an answer, references or the target."""
    answered = [(row["answer"] is not None, len(row["answers"] or ())) for row in rows]
    if unlabelled := sum(not has_answer for has_answer, _ in answered):
        print(
            f"{unlabelled} rows have no answer: `synth` with `pipeline: answer` reads them, training does not.",
            file=sys.stderr,
        )
    if unusual := sum(count not in (0, USUAL_ANSWERS) for _, count in answered):
        print(f"{unusual} rows do not have the usual number of references, {USUAL_ANSWERS}.", file=sys.stderr)
    if target in ("cot", "knowledge"):
        print(f"The rows have no `{target}` yet: `llamafactory-cli synth` writes it.", file=sys.stderr)


def without_bad_rows(placed: list[Placed], formatting: str, *, skip_bad: bool) -> list[Placed]:
    """Return the rows that the format takes; a bad one has, for example, `<image>` in its question.

    Raises:
        ImportRefused: with every problem, where bad rows are not left out or none would remain.
    """
    rows_of_format = get_rows(formatting)
    problems, kept = [], []
    for one in placed:
        fields = {field: value for field, value in one.row.items() if value is not None}
        found = rows_of_format.question_problems(fields)
        # a released test split has no answers
        found = [problem for problem in found if problem.field != "answer" or "answer" in fields]
        problems += [f"{one.entry.place}, {problem}" for problem in found]
        kept += [] if found else [one]
    if problems and not skip_bad:
        remedy = "Correct the entries, or leave them out with --bad-rows skip."
        raise ImportRefused("Rows would not pass the checks of the format.", problems, remedy)
    return leave_out(placed, kept, problems) if problems else kept


def prepare_info(dataset_dir: Path | None) -> Path | None:
    """Return the path of dataset_info.json, which is made where there is none; None without a folder.

    Raises:
        ImportRefused: the file is not readable JSON.
    """
    if dataset_dir is None:
        return None
    path = dataset_dir / "dataset_info.json"
    if not path.exists():
        write_text(path, "{}\n")
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportRefused("The dataset cannot be registered.", [f"{path}: {error}"], "Correct that file.") from None
    return path


if __name__ == "__main__":
    main()
