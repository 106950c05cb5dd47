"""The world whose questions point: answers are read again from the pixels, prompts are those of the lessons, the chain runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image

from llamafactory_hind.config import STAGES
from llamafactory_hind.evaluation.arguments import build_arguments as build_score
from llamafactory_hind.evaluation.arguments import read_settings as read_score
from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.formats.prompts.files import read_prompt
from llamafactory_hind.formats.ratings import read_ratings
from llamafactory_hind.formats.region.rows import find_problems, read_options
from llamafactory_hind.pipelines.runner.command import build_arguments, read_settings
from llamafactory_hind.pipelines.runner.run import run_synth
from llamafactory_hind.storage.dataset_info import register
from llamafactory_hind.toyworld.chain import Chain, Step, move_configs
from llamafactory_hind.toyworld.localized import chain as lskd
from llamafactory_hind.toyworld.localized.scenes import DOTS, TIMES, action_of, random_scene
from llamafactory_hind.toyworld.localized.texts import ASK, DYNAMIC, IN_BOX, THINGS, TIME, WRITE, context, dots
from shared.store import kept


def build_world(folder: Path) -> None:
    from llamafactory_hind.toyworld.localized.build import build

    build(folder, seed=0, size="small")


@pytest.fixture(scope="module")
def world() -> Path:
    return kept("localized_world", build_world)


def rows_of(world: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((world / "rows" / f"lskd_{name}.json").read_text())


def nearest(pixel: tuple[int, ...], known: dict[str, tuple[int, int, int]]) -> str:
    return min(known, key=lambda name: sum((a - b) ** 2 for a, b in zip(pixel, known[name], strict=True)))


def seen(world: Path, row: dict[str, Any], region: int) -> tuple[str, str]:
    """Read the dot of a region and the time of day from the picture."""
    picture = Image.open(world / row["images"][0])
    left, top, right, bottom = row["regions"][region]["box"]
    return nearest(picture.getpixel(((left + right) // 2, (top + bottom) // 2)), DOTS), nearest(
        picture.getpixel((0, 0)), TIMES
    )


def test_answers_are_in_the_pixels_and_in_no_words(world: Path) -> None:
    """The region that is asked about has a twin with the same label and another dot."""
    for row in rows_of(world, "test"):
        index = int(row["question"].split(":")[1].split(">")[0])
        dot, time = seen(world, row, index)
        assert row["choices"][row["answer_label"]] == row["answer"] == f"It will {action_of(dot, time)}."
        right = row["rationale_choices"][row["rationale_label"]]
        assert right == row["rationale"] == f"<region:{index}> has a {dot} dot at {time}."
        label = row["regions"][index]["label"]
        twins = [place for place, one in enumerate(row["regions"]) if one["label"] == label and place != index]
        assert len(twins) == 1
        assert seen(world, row, twins[0])[0] != dot


def test_rated_rows_say_which_are_true(world: Path) -> None:
    for row in rows_of(world, "rated_train"):
        index = int(row["question"].split(":")[1].split(">")[0])
        is_right = row["answer"] == f"It will {action_of(*seen(world, row, index))}."
        assert read_ratings(row).accepted == is_right == (row["qa_score"] == 1.0)


def test_rows_are_good_ones(world: Path) -> None:
    info = json.loads((world / "dataset_info.json").read_text())
    for name in ("rated_train", "test"):
        options = read_options(info[f"lskd_{name}"], name=name)
        assert not [problem for row in rows_of(world, name) for problem in find_problems(row, options)]


def test_each_dot_does_each_thing_at_some_time_and_no_dot_the_same_by_day_and_night() -> None:
    for time in TIMES:
        assert len({action_of(dot, time) for dot in DOTS}) == len(DOTS)
    assert all(action_of(dot, "day") != action_of(dot, "night") for dot in DOTS)


def test_prompts_of_the_lessons_are_those_of_the_yaml(root: Path) -> None:
    import random

    def rendered(name: str, **variables: Any) -> str:
        file = root / "yaml_configs/toyworld/prompts" / f"lskd_{name}.jinja"
        return read_prompt(file, name).render({"media": "", **variables}, row="a row")

    scene = random_scene(random.Random(0))
    lines = [{"number": number, "text": thing.caption} for number, thing in enumerate(scene.things)]
    told = {"concepts": ", ".join(sorted({thing.look for thing in scene.things})), "narrative": f"It is {scene.time}."}
    pairs = [{"question": DYNAMIC, "answer": dots(scene)}]
    found = rendered("triples", described=lines, pairs=pairs, count=3, by="number", **told)
    assert found.strip() == f"{context(scene)}\n{WRITE.format(count=3)}"
    found = rendered("dynamic_questions", described=lines, count=1, **told)
    assert found.strip() == f"{context(scene, pairs_on=False)}\n{ASK.format(count=1)}"
    bare = rendered("triples", described=lines, pairs=[], count=3, by="number", concepts="", narrative="")
    assert bare.strip() == "\n".join([f"[{one['number']}] {one['text']}" for one in lines]) + "\nWrite 3 triples."
    for name, text in (("concepts", THINGS), ("narrative", TIME), ("region_caption", IN_BOX)):
        assert rendered(name, label="x").strip() == text
    assert rendered("dynamic_answer", asked=DYNAMIC).strip() == DYNAMIC


def test_the_same_seed_writes_the_same_bytes(world: Path, tmp_path: Path) -> None:
    build_world(tmp_path)
    files = [path.relative_to(world) for path in world.rglob("*") if path.is_file()]
    assert not [str(file) for file in files if (world / file).read_bytes() != (tmp_path / file).read_bytes()]


def chain_in(folder: Path, root: Path) -> Chain:
    """Return the chain, its files moved from `build/toyworld_lskd` to `<folder>/build/w_lskd`."""
    configs = move_configs(folder / "w", root / "yaml_configs" / "toyworld")
    return Chain(Path(f"{folder / 'w'}_lskd"), configs, 3)


def settings_of(step: Step) -> dict[str, Any]:
    file, *words = step.words
    return OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_cli(words)))


def test_every_step_is_accepted_and_reads_what_an_earlier_one_makes(
    tmp_path: Path, root: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    chain = chain_in(tmp_path, root)
    made, datasets = {chain.work / "tiny"}, set(json.loads((world / "dataset_info.json").read_text()))
    steps = list(lskd.steps(chain))
    assert [step.command for step in steps[1:]] == ["train", "train", "train", "synth", "train", "synth", "score"]
    for step in steps:
        if step.command == "score":
            assert Path(build_score(read_score(list(step.words))).predictions).parent == chain.work
        elif step.command in ("train", "synth"):
            settings = settings_of(step)
            assert Path(settings["model_name_or_path"]) in made, step.name
            assert Path(settings.get("critic", chain.work / "tiny")) in made
            assert settings["dataset"] in datasets
            if step.command == "synth":
                assert Path(build_arguments(read_settings(step.words))[1].output).parent == step.makes.parent
                datasets.add(settings["output_dataset"])
            else:
                assert settings["stage"] in (*STAGES, "sft")
                made.add(Path(settings["output_dir"]))


@pytest.mark.train
@pytest.mark.slow
def test_the_chain_runs(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps a training. Such a teacher writes no triple; the student's are put there by hand from what is true."""
    from llamafactory.train.tuner import run_exp

    from llamafactory_hind.toyworld.localized.build import build

    monkeypatch.chdir(root)
    chain = chain_in(tmp_path, root)
    build(chain.work, seed=3, size="small")
    for step in list(lskd.steps(chain))[1:]:
        if step.command == "train":
            short = {"max_steps": 2, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2}
            run_exp({**settings_of(step), **short, "plot_loss": False})
        elif step.command == "synth":
            run_synth([*step.words, "max_new_tokens=8"] if "localized" in step.title else list(step.words))
        else:
            run_score(list(step.words))
        assert step.makes.is_file(), step.title
        if "localized" in step.title:
            report = json.loads(step.makes.read_text())
            assert report["rows"] == len(rows_of(chain.work, "pictures"))
            true = [row for row in rows_of(chain.work, "rated_train") if row["qa_score"] == 1.0]
            (chain.work / "triples.json").write_text(json.dumps(true))
            entry = {"formatting": "region", "region_style": "marks", "target": "answer_rationale"}
            register(chain.work, "lskd_triples", entry, chain.work / "triples.json")
    found = json.loads((chain.work / "ranked.score.json").read_text())["metrics"]["vcr"]
    assert found["questions"] == len(rows_of(chain.work, "test"))
