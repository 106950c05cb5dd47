"""HinD's whole chain on the offline world: every step is one command with one of the YAML files of `yaml_configs/toyworld`.

The demo runs them as a user would; `benchmarks/hind_toyworld.py` runs them for many seeds.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path


CONFIGS = Path("yaml_configs/toyworld")
HOME = Path("build/toyworld")  # the folder that the YAML files name
TRAINED = "all_results.json"
CLI = ("train", "synth", "score")


@dataclass(frozen=True)
class Step:
    """One command, and the file that shows it is done.

    Attributes:
        name: short, for the log.
        title: what it does.
        command: one of `llamafactory-cli`, or a module of ours.
        words: what follows the command.
        makes: what it leaves.
    """

    name: str
    title: str
    command: str
    words: tuple[str, ...]
    makes: Path

    def argv(self) -> list[str]:
        """Return the command as a shell would get it."""
        if self.command in CLI:
            return [str(Path(sys.executable).with_name("llamafactory-cli")), self.command, *self.words]
        return [sys.executable, "-m", self.command, *self.words]


@dataclass(frozen=True)
class Chain:
    """The steps in one folder, which each method shares until they part.

    Attributes:
        work: folder of the world and of everything that is made.
        configs: folder of the YAML files; they name `work`.
        seed: of the world and of everything that is random.
    """

    work: Path
    configs: Path
    seed: int

    def train(self, config: str, makes: str, title: str, **settings: str | int | float) -> Step:
        """Return a training."""
        settings = {"seed": self.seed, "output_dir": str(self.work / makes), **settings}
        return self._step(makes, title, "train", config, settings, self.work / makes / TRAINED)

    def synth(self, config: str, makes: str, title: str, **settings: str | int | float | bool) -> Step:
        """Return a pipeline; what it writes is registered under the name of its file."""
        output = self.work / f"{makes}.json"
        settings = {"seed": self.seed, "output": str(output), "output_dataset": output.stem, **settings}
        return self._step(makes.replace("/", "_"), title, "synth", config, settings, output)

    def _step(self, name: str, title: str, command: str, config: str, settings: dict, makes: Path) -> Step:
        words = (str(self.configs / config), *(f"{key}={value}" for key, value in settings.items()))
        return Step(name, title, command, words, makes)

    def base(self) -> list[Step]:
        """World, base checkpoint and what it sees."""
        world = ("--out", str(self.work), "--seed", str(self.seed))
        model = str(self.work / "base")
        accuracy = self.work / "base" / "accuracy.json"
        look = ("--model", model, "--data", str(self.work), "--out", str(accuracy))
        return [
            Step("world", "offline world", "llamafactory_hind.toyworld", world, self.work / "dataset_info.json"),
            self.train("0_base.yaml", "base", "base checkpoint (stage: sft)"),
            Step("accuracy", "what the base sees", "llamafactory_hind.toyworld.evaluate", look, accuracy),
        ]

    def answer_only(self) -> list[Step]:
        """The baseline: the same questions as plain answers."""
        return [self.train("answer_only_sft.yaml", "answer_only", "baseline: answers alone (stage: sft)")]

    def hdft(self) -> list[Step]:
        """Hindsight, and the two generators that learn it."""
        return [
            self.synth("1_hindsight.yaml", "written", "Hindsight-Zero (synth)"),
            self.train("2_cot_sft.yaml", "cot", "CoT generator (stage: sft)"),
            self.train("3_knowledge_sft.yaml", "knowledge", "knowledge generator (stage: sft)"),
        ]

    def kepo(self, name: str = "kepo", pair_rule: str = "misaligned") -> list[Step]:
        """Preference pairs, and the knowledge generator that learns them."""
        pairs = f"pairs_{name}"
        return [
            self.synth("4_pairs.yaml", pairs, f"knowledge pairs, {pair_rule} (synth)", pair_rule=pair_rule),
            self.train("5_kepo.yaml", name, f"{name.upper()} (stage: kepo)", dataset=pairs),
        ]

    def judge(self, name: str, adapter: str, **settings: str | float) -> Step:
        """Helpful and confident knowledge of a generator on held-out pictures."""
        adapter = str(self.work / adapter)
        return self.synth(
            "4_pairs.yaml",
            f"knowledge_{name}",
            f"knowledge {name} KEPO, held out (synth)",
            dataset="hindsight_test",
            adapter_name_or_path=adapter,
            **settings,
        )

    def answer(self, name: str, title: str, **settings: str | int | float | bool) -> Step:
        """Answers on held-out pictures."""
        return self.synth("6_answers.yaml", f"answers_{name}", title, **settings)

    def score(self) -> Step:
        """The official metric over the answers after KEPO."""
        makes = self.work / "answers_kepo.score.json"
        return Step("score", "VQA accuracy (score)", "score", (str(self.configs / "7_score.yaml"),), makes)

    def bare(self, name: str, title: str, adapter: str | None = None) -> Step:
        """Answers without reasoning and knowledge."""
        own = {"answer_adapter": str(self.work / adapter)} if adapter else {}
        return self.answer(
            name, title, use_cot=False, num_knowledge=0, cot_adapter="null", knowledge_adapter="null", **own
        )


def move_configs(work: Path, configs: Path = CONFIGS) -> Path:
    """Copy the YAML files beside a working folder, with its name in the place of `build/toyworld`."""
    folder = work.with_name(f"{work.name}_configs")
    folder.mkdir(parents=True, exist_ok=True)
    for file in configs.glob("*.yaml"):
        (folder / file.name).write_text(file.read_text().replace(str(HOME), str(work)))
    return folder


def accuracies(output: Path) -> dict[str, tuple[float, int]]:
    """Return VQA accuracy and number of rows of an `answer` output: all, and by whether training asked for the fact."""
    from ..evaluation.vqa import vqa_accuracy

    rows = json.loads(output.read_text())
    groups = {
        "all": rows,
        "new facts": [row for row in rows if not row["asked_in_training"]],
        "new facts, misaligned": [row for row in rows if not row["asked_in_training"] and row["misaligned"]],
        "asked in training": [row for row in rows if row["asked_in_training"]],
    }
    return {
        name: (sum(vqa_accuracy(row["prediction"], row["answers"]) for row in group) / len(group), len(group))
        for name, group in groups.items()
        if group
    }
