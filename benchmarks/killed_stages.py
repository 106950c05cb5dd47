"""Settings and rows of one short run a stage, for measurements of runs that are killed: every kind of file is written."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


SAVING = {"save_strategy": "steps", "save_steps": 1, "lr_scheduler_type": "cosine", "max_steps": 3}
ONLINE = ("num_generations", "max_new_tokens", "reward_funcs")
REWARD = '''
def vowels(completions, **columns):
    """Share of vowels, so that groups differ."""
    return [sum(c in "aeiou" for c in text) / max(len(text), 1) for text in completions]
'''


def register(folder: Path, name: str, rows: list[dict[str, Any]], **entry: Any) -> None:
    """Write a dataset and its entry."""
    (folder / f"{name}.json").write_text(json.dumps(rows))
    file = folder / "dataset_info.json"
    info = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(info | {name: {"file_name": f"{name}.json", **entry}}))


def write_all(world: Path, folder: Path) -> None:
    """Write the rows of every stage, of pictures, videos and text, and a reward."""
    from shared.stages import write_prompts

    pictures = sorted(path.name for path in (world / "images").glob("*.png"))
    shown = [{"images": [f"images/{pictures[i]}"] * (i % 2)} for i in range(16)]
    asked = json.loads((write_prompts(world, folder) / "prompts.json").read_text())
    (folder / "letters.py").write_text(REWARD)
    action = {"source": "large", "text": "<think>I see.</think><answer>moss</answer>", "logprob": None}
    questions = [{"id": f"r{i}", "question": f"What is told of thing {i}?", **shown[i]} for i in range(16)]
    register(folder, "external", [{**row, "external": [action]} for row in asked], formatting="rollout")
    spoilt = [{**row, "prompt": None} if i == 3 else row for i, row in enumerate(asked)]
    register(folder, "some_bad", spoilt, formatting="rollout")
    hinted = [{**row, "hint": f"Look at {row['id']}."} if i % 3 else row for i, row in enumerate(asked)]
    register(folder, "hinted", hinted, formatting="rollout")
    pairs = [{**row, "answer": "moss", "chosen": "it eats moss", "rejected": "it fears bells"} for row in questions]
    register(folder, "pairs", pairs, formatting="hindsight", ranking=True, target="knowledge")
    reasons = [{**row, "answer": "moss", "cot": ["it grows in caves", "so it does"]} for row in questions]
    register(folder, "both", reasons, formatting="hindsight", target="multitask")
    rated = [rated_row(i, f"images/{pictures[i]}") for i in range(16)]
    triples = [rated_row(i, f"images/{pictures[i % 5]}") for i in range(16)]
    register(folder, "triples", triples, formatting="region", target="answer_rationale", region_style="both")
    register(folder, "rated", rated, formatting="region", target="answer_rationale", region_style="both")


def rated_row(number: int, picture: str) -> dict[str, Any]:
    """Return a region row with what raters said of it."""
    good = number % 2 == 0
    return {
        "id": f"r{number}",
        "images": [picture],
        "regions": [{"box": [2, 3, 30, 28], "label": "thing"}],
        "question": "What is told of <region:0>?",
        "answer": "it eats moss" if good else "it fears bells",
        "rationale": "<region:0> says so",
        "label": ["accept", "accept" if good else "reject"],
        "qa_score": 0.8 if good else 0.1,
        "r_score": 0.5,
    }


def base_settings(world: Path, folder: Path) -> dict[str, Any]:
    """Return what the runs of all stages have in common."""
    from shared.stages import BASE, places

    settings = {**BASE, **places(world, folder, folder / "out"), **SAVING}
    return settings | {"reward_funcs": [f"{folder / 'letters.py'}:vowels"]}


def _offline(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in ONLINE} | changes


def _gated(settings: dict[str, Any], world: Path) -> dict[str, Any]:
    """A local teacher distils, and writes hints where a row has none: its texts are kept in a cache."""
    from shared.teachers import kept_teacher

    asked = {"hint_samples": 2, "hint_trigger": "always", "hint_tags": False, "hint_max_new_tokens": 8}
    gate = {"gate_reward": "vowels", "gate_threshold": 0.2, "teacher": str(kept_teacher(world))}
    return settings | {"stage": "gated_distill", "dataset": "hinted", "num_iterations": 2, **asked, **gate}


STAGES: Mapping[str, Callable[[dict[str, Any], Path], dict[str, Any]]] = {
    "grpo": lambda settings, world: settings | {"num_iterations": 2},
    "kepo": lambda settings, world: _offline(settings, stage="kepo", dataset="pairs", ref_logps_cache="auto"),
    "external_grpo": lambda settings, world: (
        settings
        | {"stage": "external_grpo", "dataset": "external", "external_tie_break": "random", "num_iterations": 2}
    ),
    "gated_distill": _gated,
    "critic": lambda settings, world: _offline(
        settings, stage="critic", dataset="rated", template="qwen2_vl_region", per_device_train_batch_size=4
    ),
    "lskd": lambda settings, world: _offline(
        settings, stage="lskd", dataset="triples", template="qwen2_vl_region", per_device_train_batch_size=4
    ),
    "reason_sft": lambda settings, world: _offline(settings, stage="reason_sft", dataset="both"),
}


def settings_of(stage: str, world: Path, folder: Path) -> dict[str, Any]:
    """Return the settings of a short run of a stage over the rows of `write_all`."""
    return STAGES[stage](base_settings(world, folder), world)
