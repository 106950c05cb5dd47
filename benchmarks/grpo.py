"""One step of `stage: grpo` beside TRL's `GRPOTrainer`: both real trainers, same weights, image, G and tokens, in turn.

    python benchmarks/grpo.py --case image300 --case image1000      # medians and ratios, one process a case
    python benchmarks/grpo.py --case image1000 --memory             # peak memory, one process a trainer

A step writes G completions of one prompt, rewards them, scores the reference (`kl_beta` above 0) and runs forward and backward;
the optimiser is the same on both sides and left out. Every completion has all its tokens: nothing stops early. Random weights,
float32, no gradient checkpointing, full tuning with a frozen vision tower on both sides. Memory is the growth of the peak
resident set during two steps over what the process held with model and batch ready.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llamafactory  # noqa: F401  mends trl's package check before trl is imported
import torch
from live_table import growing_table
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_tokenizer
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, TrainingArguments, set_seed
from trl import GRPOConfig, GRPOTrainer

from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.engines.open import RolloutEngines
from llamafactory_hind.rewards import load_rewards
from llamafactory_hind.stages.grpo import GroupRelative
from llamafactory_hind.toyworld.build import build
from llamafactory_hind.toyworld.checkpoint import tiny_config
from llamafactory_hind.trainers.rollouts.trainer import PromptRows, RolloutTrainer
from llamafactory_hind.trainers.rollouts.writing import RolloutOptions


GROUP, NEW_TOKENS, PATCH = 8, 64, 28


@dataclass(frozen=True)
class Case:
    """`side`: merged image patches a side (0: no image); `words`: of the question."""

    side: int
    words: int
    kl_beta: float = 0.04
    vocabulary: int | None = None
    hidden: int = 128
    layers: int = 4
    group: int = GROUP
    new_tokens: int = NEW_TOKENS
    prompts: int = 1


@dataclass(frozen=True)
class Machine:
    """Where a case runs; `build` makes its model of the case and a tokenizer."""

    build: Callable[[Case, Any], torch.nn.Module]
    use_cpu: bool = True
    bf16: bool = False


CASES = {
    "image300": Case(side=16, words=20),
    "image1000": Case(side=30, words=70),
    "middle300": Case(side=16, words=20, hidden=512, layers=8),
    "vocabulary300": Case(side=16, words=20, kl_beta=0.0, vocabulary=151_936),
}


def lengths(completions: list[str], **columns: Any) -> list[float]:
    """A reward that differs between most completions."""
    return [len(set(text)) / 100 for text in completions]


def build_model(case: Case, tokenizer: Any) -> torch.nn.Module:
    """A Qwen2.5-VL of the case's size with random weights; its vision tower is frozen, as both sides are used."""
    config = tiny_config(tokenizer)
    heads = case.hidden // 32
    for name, value in {
        "hidden_size": case.hidden,
        "intermediate_size": 3 * case.hidden,
        "num_hidden_layers": case.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "layer_types": ["full_attention"] * case.layers,
        "vocab_size": case.vocabulary or config.text_config.vocab_size,
    }.items():
        setattr(config.text_config, name, value)
    config.vision_config.out_hidden_size = case.hidden
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.model.visual.requires_grad_(False)
    return model


HERE = Machine(build_model)


def question(case: Case) -> str:
    words = ["where", "does", "the", "red", "thing", "live", "and", "what", "eats", "moss"]
    return " ".join(words[place % len(words)] for place in range(case.words))


def picture(case: Case) -> Image.Image:
    side = case.side * PATCH
    noise = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return Image.fromarray(noise.numpy())


def synchronize() -> None:
    """Wait for a GPU, whose work would be counted to what comes next."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Ours:
    """`RolloutTrainer` with the annotator of `stage: grpo`."""

    def __init__(self, case: Case, world: Path, machine: Machine = HERE) -> None:
        model_args = ModelArguments(model_name_or_path=str(world / "tiny"), image_max_pixels=2**22)
        modules = load_tokenizer(model_args)
        tokenizer = modules["tokenizer"]
        template = get_template_and_fix_tokenizer(tokenizer, DataArguments(template="qwen2_vl"))
        model = machine.build(case, tokenizer)
        self.loaded = LoadedModel(model, tokenizer, modules["processor"], template)
        finetuning_args = FinetuningArguments(stage="grpo", finetuning_type="full", kl_beta=case.kl_beta)
        out = tempfile.mkdtemp()
        rows = [{**self._feature(case), "row_id": str(number)} for number in range(case.prompts)]
        self.trainer = RolloutTrainer(
            train_dataset=rows,
            annotator=GroupRelative(load_rewards([f"{__file__}:lengths"], None, timeout=60), finetuning_args),
            options=RolloutOptions(case.group, 0.9, 1.0, 0, case.new_tokens, 1, "on"),
            loaded=self.loaded,
            engines=RolloutEngines.of(finetuning_args, self.loaded),
            reference=copy.deepcopy(model) if case.kl_beta else None,
            finetuning_args=finetuning_args,
            args=TrainingArguments(
                out,
                per_device_train_batch_size=case.prompts,
                report_to=[],
                use_cpu=machine.use_cpu,
                bf16=machine.bf16,
                disable_tqdm=True,
            ),
        )
        self.trainer.generator.engine.stop_ids = [tokenizer.convert_tokens_to_ids("<|image_pad|>")]  # never written
        self.batch = PromptRows(rows)
        self.trainer.current_gradient_accumulation_steps = 1

    def _feature(self, case: Case) -> dict[str, Any]:
        loaded, images = self.loaded, [picture(case)]
        messages = [{"role": "user", "content": "<image>" + question(case)}, {"role": "assistant", "content": ""}]
        messages = loaded.template.mm_plugin.process_messages(messages, images, [], [], loaded.processor)
        ids, _ = loaded.template.encode_oneturn(loaded.tokenizer, messages)
        return {"prompt_input_ids": ids, "images": images, "videos": [], "audios": [], "columns": "{}", "row_id": "0"}

    def step(self) -> dict[str, float]:
        trainer = self.trainer
        trainer.model.zero_grad()
        trainer.state.global_step += 1
        started = time.perf_counter()
        (batch,), count = trainer.get_batch_samples(iter([self.batch]), 1, trainer.args.device)
        written = time.perf_counter()
        trainer.training_step(trainer.model, batch, count)
        synchronize()
        seconds = time.perf_counter() - started
        assert batch["batch"].mask.all(), "a completion is shorter than the others"
        found = trainer.rollout_log.averages.take(trainer.accelerator)
        return {
            "seconds": seconds,
            "generation": found["timing/rollout"],
            "scoring": found.get("timing/reference", 0.0),
            "loss": seconds - (written - started),
        }


class Theirs:
    """TRL's `GRPOTrainer`."""

    def __init__(self, case: Case, world: Path, machine: Machine = HERE) -> None:
        model_args = ModelArguments(model_name_or_path=str(world / "tiny"), image_max_pixels=2**22)
        processor = load_tokenizer(model_args)["processor"]
        processor.tokenizer.padding_side = "left"
        model = machine.build(case, processor.tokenizer)
        model.warnings_issued = {}  # TRL 0.24 expects it, transformers 5 has none
        media = [processor.tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")]
        media += [processor.tokenizer.convert_tokens_to_ids(f"<|vision_{name}|>") for name in ("start", "end")]
        self.trainer = GRPOTrainer(
            model=model,
            processing_class=processor,
            reward_funcs=lambda completions, **columns: lengths([one[0]["content"] for one in completions]),
            args=GRPOConfig(
                tempfile.mkdtemp(),
                per_device_train_batch_size=case.group * case.prompts,
                num_generations=case.group,
                max_completion_length=case.new_tokens,
                max_prompt_length=None,
                generation_kwargs={"min_new_tokens": case.new_tokens, "suppress_tokens": media},
                temperature=0.9,
                beta=0.0,
                loss_type="grpo",
                bf16=machine.bf16,
                gradient_checkpointing=False,
                use_cpu=machine.use_cpu,
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=[{"prompt": "", "image": None}],
        )
        if case.kl_beta:  # TRL can only load a reference from disk
            self.trainer.beta, self.trainer.ref_model = case.kl_beta, copy.deepcopy(model).eval()
        self.rows = case.group * case.prompts
        self.row = {"prompt": [{"role": "user", "content": question(case)}], "image": picture(case)}
        self.trainer.current_gradient_accumulation_steps = 1
        self._watch()

    def _watch(self) -> None:
        """Take the time of generation and of scoring."""
        self.spent = {"generation": 0.0, "scoring": 0.0}
        trainer = self.trainer

        def timed(name: str, function: Callable[..., Any], only: Callable[[], bool]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                kwargs.pop("mm_token_type_ids", None)  # transformers 5 makes it, TRL 0.24 cannot pass it
                started = time.perf_counter()
                result = function(*args, **kwargs)
                synchronize()
                self.spent[name] += (time.perf_counter() - started) * only()
                return result

            return call

        trainer._generate = timed("generation", trainer._generate, lambda: True)
        score = trainer._get_per_token_logps_and_entropies
        trainer._get_per_token_logps_and_entropies = timed("scoring", score, lambda: not torch.is_grad_enabled())

    def step(self) -> dict[str, float]:
        trainer = self.trainer
        trainer.model.zero_grad()
        self.spent.update(dict.fromkeys(self.spent, 0.0))
        rows = [copy.deepcopy(self.row) for _ in range(self.rows)]  # TRL changes its rows
        started = time.perf_counter()
        trainer.training_step(trainer.model, rows, None)
        synchronize()
        seconds = time.perf_counter() - started
        return {"seconds": seconds, **self.spent, "loss": seconds - sum(self.spent.values())}


def matmul_peak(size: int = 1536) -> float:
    """Measured float32 matmul rate of this process in FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    rates = []
    for _ in range(7):
        start = time.perf_counter()
        a @ b
        rates.append(2 * size**3 / (time.perf_counter() - start))
    return statistics.median(rates)


def unique_flops(trainer: RolloutTrainer, case: Case, prompt: int) -> float:
    """Matmul FLOPs of a step over unique tokens: prompt once and each completion once a pass; forward is 1, backward 2."""
    model = trainer.model
    config, layers = model.config.text_config, model.model.language_model.layers
    loaded = sum(entry.numel() for entry in layers.parameters() if entry.dim() == 2)
    tower = sum(entry.numel() for entry in model.model.visual.blocks.parameters() if entry.dim() == 2)
    answers = case.group * case.new_tokens
    seen = prompt**2 / 2 + answers * prompt + case.group * case.new_tokens**2 / 2  # query-key pairs that may attend
    text = 2 * loaded * (prompt + answers) + 4 * seen * config.hidden_size * config.num_hidden_layers
    head = 2 * answers * config.hidden_size * config.vocab_size
    passes = 1 + 3 + bool(case.kl_beta)  # writing, forward and backward, reference
    return passes * (text + head) + (2 + bool(case.kl_beta)) * 2 * tower * 4 * case.side**2  # the tower is frozen


def measure_time(name: str, runs: int, world: Path) -> dict[str, float]:
    case = CASES[name]
    set_seed(0)
    ours, theirs = Ours(case, world), Theirs(case, world)
    ours.step(), theirs.step()
    pairs = [(theirs.step(), ours.step()) for _ in range(runs)]
    found: dict[str, float] = {"prompt": len(ours.batch.features[0]["prompt_input_ids"])}
    for side, place in (("trl", 0), ("ours", 1)):
        found |= {f"{side}_{key}": statistics.median(pair[place][key] for pair in pairs) for key in pairs[0][place]}
    peak = matmul_peak()
    flops = unique_flops(ours.trainer, case, int(found["prompt"]))
    found["ratio"] = statistics.median(pair[1]["seconds"] / pair[0]["seconds"] for pair in pairs)
    found["share_of_matmul_peak"] = flops / found["ours_seconds"] / peak
    found["trl_share_of_matmul_peak"] = flops / found["trl_seconds"] / peak
    return found | {"matmul_peak_gflops": peak / 1e9}


def measure_memory(name: str, side: str, world: Path) -> float:
    """Growth of the peak resident set during two steps in MiB, in a process of its own."""
    trainer = {"ours": Ours, "trl": Theirs}[side](CASES[name], world)
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    trainer.step()  # ours compares its ways here
    trainer.step()
    return status("VmHWM") - before


def status(field: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="repeatable; default: all")
    parser.add_argument("--runs", type=int, default=5, help="paired steps a case")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--world", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.case or sorted(CASES)
    if arguments.child:
        if arguments.child == "time":
            print(json.dumps(measure_time(names[0], arguments.runs, arguments.world)))
        else:
            print(json.dumps({"mib": measure_memory(names[0], arguments.child, arguments.world)}))
        return
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    world = arguments.world or Path(tempfile.mkdtemp())
    if not (world / "tiny").is_dir():
        build(world, seed=0, size="small")
    if arguments.memory:
        with growing_table("case", "trl MiB", "grpo MiB", "ratio") as add:
            for name in names:
                trl, ours = (child(name, side, arguments.runs, world)["mib"] for side in ("trl", "ours"))
                add(name, f"{trl:.0f}", f"{ours:.0f}", f"{ours / trl:.3f}")
        return
    with growing_table("case", "measured", "value") as add:
        for name in names:
            for key, value in child(name, "time", arguments.runs, world).items():
                add(name, key, f"{value:.4g}")


def child(name: str, which: str, runs: int, world: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--case", name, "--child", which, "--runs", str(runs), "--world", str(world)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
