"""LSKD on the offline world: do the critic's filter, the descriptors and the form of regions matter? VCR's scores, seed by seed.

    python benchmarks/lskd_toyworld.py --seeds 5

Every seed has its own pictures, base, teacher and critic. All students start from the base and take as many steps of as many rows. They
differ in one thing: which triples they learn, or how regions are shown. Settings were chosen on a seed that is not among these (seed 100).
Finished steps are kept: killed and started again, it goes on. `--report` prints the tables of the seeds that are done.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from seeds import WORK, folder, interval, run_benchmark

from llamafactory_hind.evaluation import vcr_accuracy
from llamafactory_hind.toyworld.chain import Chain, Step
from llamafactory_hind.toyworld.localized import chain as lskd
from llamafactory_hind.toyworld.localized.scenes import action_of
from llamafactory_hind.toyworld.localized.texts import answer, rationale


@dataclass(frozen=True)
class Student:
    """One student.

    Attributes:
        title: in the table.
        source: which triples.
        threshold: of the critic's score.
        style: how regions are shown, in training and test.
    """

    title: str
    source: str = "triples"
    threshold: float = 0.0
    style: str = "marks"


DEFAULT = 0.8
FAMILIES = {
    "concepts": {"concepts": False},
    "narrative": {"narrative": False},
    "captions": {"region_captions": False},
    "questions": {"num_questions": 0},
}
STUDENTS = {
    "unfiltered": Student("all triples"),
    "at_80": Student("critic at 0.8 (LSKD's)", threshold=DEFAULT),
    "at_50": Student("critic at 0.5", threshold=0.5),
    "at_90": Student("critic at 0.9", threshold=0.9),
    "at_95": Student("critic at 0.95", threshold=0.95),
    "coordinates": Student("at 0.8, coordinates in place of marks", threshold=DEFAULT, style="coordinates"),
    "both": Student("at 0.8, marks and coordinates", threshold=DEFAULT, style="both"),
    "name": Student("at 0.8, referring expressions, no region", threshold=DEFAULT, style="name"),
    **{
        f"no_{name}": Student(f"at 0.8, without the {name}", source=f"no_{name}", threshold=DEFAULT)
        for name in FAMILIES
    },
}
DIFFERENCES = (
    *(("at_80", "unfiltered"), ("at_50", "at_80"), ("at_90", "at_80"), ("at_95", "at_80")),
    *((f"no_{name}", "at_80") for name in FAMILIES),
    *(("coordinates", "at_80"), ("both", "at_80"), ("both", "coordinates"), ("name", "at_80")),
)
FEWEST = 30  # rows that a student is trained on
SCORES = ("q2a", "qa2r", "q2ar")


def home(seed: int) -> Path:
    """Return the folder of a seed: what the YAML files name `build/toyworld_lskd`, moved."""
    return Path(f"{folder(seed)}_lskd")


def steps(chain: Chain) -> Iterator[Step]:
    """Yield all steps of a seed."""
    chain = replace(chain, work=home(chain.seed))
    yield from lskd.before(chain)
    yield lskd.rank(chain, "base", "ranked_base")
    made: set[str] = set()
    for name, student in STUDENTS.items():
        if student.source not in made:
            off = FAMILIES.get(student.source.removeprefix("no_"), {})
            yield lskd.triples(chain, student.source, threshold=0.0, **off)
            made.add(student.source)
        if register(chain.work, name, student) < FEWEST:
            continue
        yield lskd.student(chain, name, dataset=f"student_{name}")
        yield lskd.rank(chain, name, f"ranked_{name}", region_style=student.style)


def rows_of(work: Path, student: Student) -> list[dict[str, Any]]:
    """Return the triples that a student learns; the score of each is in its row, so another threshold needs no call."""
    rows = json.loads((work / f"{student.source}.json").read_text())
    return [row for row in rows if row["critic"] >= student.threshold]


def register(work: Path, name: str, student: Student) -> int:
    """Write the rows of a student and their entry; return how many they are."""
    rows, file = rows_of(work, student), work / "dataset_info.json"
    (work / f"student_{name}.json").write_text(json.dumps(rows) + "\n")
    entry = {"file_name": f"student_{name}.json", "formatting": "region", "target": "answer_rationale"}
    info = json.loads(file.read_text()) | {f"student_{name}": entry | {"region_style": student.style}}
    file.write_text(json.dumps(info, indent=1) + "\n")
    return len(rows)


def scores(work: Path, name: str) -> dict[str, float] | None:
    """Return VCR's scores of a student, None where it was not trained."""
    file = work / f"ranked_{name}.json"
    if not file.is_file():
        return None
    rows = json.loads(file.read_text())
    columns = [
        [row[key] for row in rows] for key in ("answer_scores", "rationale_scores", "answer_label", "rationale_label")
    ]
    return vcr_accuracy(*columns)


def right_share(work: Path, rows: Sequence[dict[str, Any]]) -> float | None:
    """Return the share of triples whose answer follows from their own rationale's dot and time, and whose dot is the thing's."""
    truth = {row["id"]: row["truth"] for row in json.loads((work / "rows/lskd_pictures.json").read_text())}
    return mean(is_right(row, truth[row["id"].split("/")[0]]) for row in rows) if rows else None


def is_right(row: dict[str, Any], truth: dict[str, Any]) -> bool:
    """Say whether a triple is true of its picture."""
    for number, dot in enumerate(truth["dots"]):
        mention = f"<region:{number}>"
        if mention in row["question"]:
            expected = (answer(action_of(dot, truth["time"])), rationale(mention, dot, truth["time"]))
            return (row["answer"], row["rationale"]) == expected
    return False


def report(seeds: Sequence[int]) -> str:
    """Return the tables as Markdown."""
    found = {name: [scores(home(seed), name) for seed in seeds] for name in ("base", *STUDENTS)}
    titles = {"base": "base, untrained"} | {name: student.title for name, student in STUDENTS.items()}
    lines = [f"VCR's scores in %, mean ± 95 % interval over {len(seeds)} seeds; chance is 25, 25 and 6:", ""]
    lines += ["| student | triples | right, % | Q→A | QA→R | Q→AR |", "|---|---|---|---|---|---|"]
    for name, title in titles.items():
        done = [one for one in found[name] if one is not None]
        cells = [interval([one[score] for one in done]) if done else "-" for score in SCORES]
        lines.append(f"| {title} | {_rows_cells(name, seeds)} | " + " | ".join(cells) + " |")
    lines += ["", "Differences within a seed, points:", "", "| difference | Q→A | Q→AR | seeds above 0 (Q→A) |"]
    lines.append("|---|---|---|---|")
    for one, other in DIFFERENCES:
        pairs = [(a, b) for a, b in zip(found[one], found[other], strict=True) if a is not None and b is not None]
        if pairs:
            gaps = [[a[score] - b[score] for a, b in pairs] for score in ("q2a", "q2ar")]
            above = f"{sum(gap > 0 for gap in gaps[0])} of {len(pairs)}"
            lines.append(f"| {titles[one]} - {titles[other]} | {interval(gaps[0])} | {interval(gaps[1])} | {above} |")
    return "\n".join(lines)


def _rows_cells(name: str, seeds: Sequence[int]) -> str:
    if name == "base":
        return "- | -"
    rows = [rows_of(home(seed), STUDENTS[name]) for seed in seeds]
    shares = [
        share for seed, own in zip(seeds, rows, strict=True) if (share := right_share(home(seed), own)) is not None
    ]
    return f"{mean(map(len, rows)):.0f} | {interval(shares) if shares else '-'}"


def seeds_done() -> list[int]:
    """Return the seeds of which every student that can be trained is ranked."""
    last = [*STUDENTS][-1]
    numbers = sorted(int(path.name.split("-")[1].split("_")[0]) for path in WORK.glob("seed-*_lskd"))
    return [seed for seed in numbers if (home(seed) / f"ranked_{last}.json").is_file()]


if __name__ == "__main__":
    if sys.argv[1:] == ["--report"]:
        print(report([seed for seed in seeds_done() if seed != 100]))
    else:
        run_benchmark(steps, report, file=__file__, description=__doc__)
