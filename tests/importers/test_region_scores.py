"""Released files to official numbers: import, rank with a tiny model, score; VCR through the real command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.importers.__main__ import main
from llamafactory_hind.pipelines.runner.run import run_synth

from .test_region_families import EVENT, VCR, Release, comparison, refcoco_words


pytestmark = pytest.mark.slow


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def rank_words(release: Release, world: Path, **more: Any) -> list[str]:
    given = {
        "pipeline": "rank", "model_name_or_path": world / "tiny", "template": "qwen2_vl_region", "dataset": "out",
        "dataset_dir": release.folder, "media_dir": release.images, "region_style": "both", "batch_size": 4,
        "output": release.folder / "ranked.jsonl", **more,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in given.items()]


def score_words(release: Release, metric: str, **more: Any) -> list[str]:
    given = {"metric": metric, "dataset": "out", "dataset_dir": release.folder, "output": release.folder / "s.json"}
    return [
        f"{key}={value}" for key, value in {**given, "predictions": release.folder / "ranked.jsonl", **more}.items()
    ]


def ranked(release: Release) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (release.folder / "ranked.jsonl").read_text().splitlines()]


def number(release: Release, metric: str) -> dict[str, Any]:
    return json.loads((release.folder / "s.json").read_text())["metrics"][metric]


def test_vcr_by_the_commands(release: Release, small_world: Path, host_cli: Callable[..., Any]) -> None:
    """Q -> AR is the share of rows whose two best scores are the labels (`eval_q2ar.py`)."""
    other = VCR | {"annot_id": "val-1", "question": ["Who", "is", [0], "?"], "answer_label": 3, "rationale_label": 0}
    release.run("vcr", "--file", release.write("val.jsonl", [VCR, other]))
    for words in (["synth", *rank_words(release, small_world)], ["score", *score_words(release, "vcr")]):
        finished = host_cli(*words)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    rows = ranked(release)
    answers, rationales = (np.array([row[f"{name}_scores"] for row in rows]) for name in ("answer", "rationale"))
    assert np.isfinite(answers).all()
    assert (np.ptp(answers, axis=1) > 0).all()
    right = [
        scores.argmax(1) == [row[f"{name}_label"] for row in rows]
        for name, scores in (("answer", answers), ("rationale", rationales))
    ]
    found = number(release, "vcr")
    assert found["score"] == (right[0] & right[1]).mean()
    assert {name: part["score"] for name, part in found["parts"].items()} == {
        "q2a": right[0].mean(),
        "qa2r": right[1].mean(),
    }


def test_sherlock_comparison(release: Release, small_world: Path) -> None:
    """The official loop over pairs, with numpy's noise, written anew."""
    instances, key = comparison()
    release.run("sherlock", "--file", release.write("i.json", instances), "--key", release.write("k.json", key))
    run_synth(rank_words(release, small_world))
    run_score(score_words(release, "sherlock_comparison"))
    (row,) = ranked(release)
    np.random.seed(1)
    noisy = np.array(row["scores"]) + (np.random.random(10) / 1e9)[:3]
    shares = []
    for label in row["ratings"]:
        pairs = [(i, j) for i in range(3) for j in range(i + 1, 3) if label[i] != label[j]]
        agreed = [(label[i] < label[j]) == (noisy[i] < noisy[j]) for i, j in pairs]
        shares.append((sum(agreed) / len(agreed) - 0.5) * 2)
    assert number(release, "sherlock_comparison")["score"] == pytest.approx(np.mean(shares))


def test_visualcomet(release: Release, small_world: Path) -> None:
    """`run_rank.py`: gold among the best `num_gold` of the candidates, over `num_gold`, mean over groups."""
    events = [
        EVENT,
        EVENT | {"event": "2 sits", "intent": ["rest", "wait for 1"], "before": ["enter"], "after": ["go"]},
    ]
    release.run("visualcomet", "--file", release.write("val_annots.json", events), "--candidates", "5")
    run_synth(rank_words(release, small_world, choice_norm="sum"))
    run_score(score_words(release, "acc_at_50"))
    recalls = []
    for row in ranked(release):
        order = np.argsort(-np.array(row["scores"]), kind="stable")
        recalls.append(sum(order[: row["num_gold"]] < row["num_gold"]) / row["num_gold"])
    assert len(recalls) == 5
    assert number(release, "acc_at_50")["score"] == pytest.approx(np.mean(recalls))


def test_refcoco(release: Release) -> None:
    """The host's file: one box equal to the label, one that misses; both in the numbers of the model."""
    from .test_region_families import REF

    rows = release.run(*refcoco_words(release, [REF]))
    label = '{"bbox_2d": [4, 5, 20, 70], "label": "person"}'
    lines = [
        {"prompt": f"user\n{row['question']}\nassistant\n", "predict": text, "label": label}
        for row, text in zip(rows, (label, '{"bbox_2d": [40, 50, 60, 70]}'), strict=True)
    ]
    (release.folder / "ranked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_score(score_words(release, "box_iou", box_gold="label"))
    assert number(release, "box_iou")["score"] == 0.5


def test_imported_rows_are_read_by_the_importer_of_the_format_alone(release: Release) -> None:
    """A second import over the first, after the file was removed, is not refused."""
    words = ["vcr", "--file", release.write("val.jsonl", [VCR])]
    release.run(*words)
    (release.folder / "out.json").unlink()
    main([*words, "--images", str(release.images), "--out", str(release.folder / "out.json")])
    assert (release.folder / "out.json").is_file()
