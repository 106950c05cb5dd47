"""`stage: kepo` through the host's own `run_exp` and `llamafactory-cli`: real images, video and text rows, two to eight steps.

Each run starts from the same untrained tiny Qwen2.5-VL; what is compared is what the host wrote to disk.
"""

import json
import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from llamafactory.data.template import TEMPLATES
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config
from transformers.models.qwen2 import Qwen2ForCausalLM

from llamafactory_hind.engines.local.attention import why_not_packed
from llamafactory_hind.trainers import sharding
from shared.stages import ZERO2, command, history, loaded, lora, run, same, wait_for, warm


BASE = {
    "stage": "kepo",
    "do_train": True,
    "finetuning_type": "full",
    "template": "qwen2_vl",
    "flash_attn": "sdpa",
    "dataset": "pairs",
    "cutoff_len": 1024,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1.0e-3,
    "lr_scheduler_type": "constant",
    "max_steps": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "seed": 3,
    "disable_gradient_checkpointing": True,
    "preprocessing_num_workers": 1,
    "dataloader_num_workers": 0,
}


# Adam would blow the last digit of a gradient near 0 up to a step, and which one is near 0 depends on the pictures.
PLAIN_STEPS = {"optim": "sgd", "learning_rate": 0.1}


@pytest.fixture(scope="module")
def pairs(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen ranking rows over the small world: one image, two images, video, text, in turn; eight more to evaluate."""
    folder = tmp_path_factory.mktemp("pairs")
    images = sorted(path.name for path in (small_world / "images").glob("*.png"))
    clip = next((small_world / "clips").glob("*.mp4")).name
    media = [
        lambda i: {"images": [f"images/{images[i]}"]},
        lambda i: {"images": [f"images/{images[i]}", f"images/{images[i + 1]}"]},
        lambda i: {"videos": [f"clips/{clip}"]},
        lambda i: {},
    ]
    answers = ["a dax eats moss", "bells", "the red ring is at the left", "it lives in caves and fears the wind"]
    rows = [
        {
            "id": f"row-{i}",
            "question": f"What is told of thing {i}?",
            "answer": "moss",
            "images": [],
            "videos": [],
            "chosen": answers[i % 3],
            "rejected": answers[(i + 1) % 4] + ("" if i % 3 != (i + 1) % 4 else " today"),
            "difficulty": i / 10,
            **media[i % 4](i),
        }
        for i in range(24)
    ]
    for name, part in (("pairs", rows[:16]), ("held_out", rows[16:])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    info = {
        name: {"file_name": f"{name}.json", "formatting": "hindsight", "ranking": True, "target": "knowledge"}
        for name in ("pairs", "held_out")
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def settings(small_world: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    """A full-tuning run of four steps."""
    return {
        **BASE,
        "model_name_or_path": str(small_world / "tiny"),
        "dataset_dir": str(pairs),
        "media_dir": str(small_world),
        "output_dir": str(tmp_path / "out"),
    }


@pytest.fixture(scope="module")
def plain_run(small_world: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that others are compared with: four steps of two pairs, evaluated every second step, plots."""
    out = tmp_path_factory.mktemp("plain") / "out"
    places = {
        "model_name_or_path": small_world / "tiny",
        "dataset_dir": pairs,
        "media_dir": small_world,
        "output_dir": out,
    }
    return run(
        {**BASE, **{key: str(value) for key, value in places.items()}},
        eval_dataset="held_out",
        eval_strategy="steps",
        eval_steps=2,
        do_eval=True,
        plot_loss=True,
        report_to="tensorboard",
    )


def test_starts_at_log_two_and_learns(plain_run: Path) -> None:
    losses = history(plain_run)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)  # the policy is its own reference before the first update
    assert history(plain_run, "rewards/margins")[0] == pytest.approx(0.0, abs=1e-4)
    assert history(plain_run, "rewards/margins")[-1] > 0.01


def test_logs_every_metric_where_the_host_logs(plain_run: Path) -> None:
    names = {
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
        "logps/chosen",
        "logps/rejected",
    }
    names |= {"confidence/gap_before", "confidence/gap_now", "tokens_per_second", "peak_memory_gib"}
    for name in names:
        assert len(history(plain_run, name)) == 4, name
    lines = [json.loads(line) for line in (plain_run / "trainer_log.jsonl").read_text().splitlines()]
    assert names - {"rewards/accuracies"} <= lines[0].keys()
    assert {"loss", "lr", "epoch", "accuracy", "current_steps", "remaining_time"} <= lines[0].keys()
    assert list(plain_run.glob("runs/*/events*"))
    for plot in ("loss", "rewards_accuracies", "rewards_margins", "confidence_gap_now", "eval_loss"):
        assert (plain_run / f"training_{plot}.png").read_bytes().startswith(b"\x89PNG")


def test_evaluates_with_the_same_metrics(plain_run: Path) -> None:
    results = json.loads((plain_run / "eval_results.json").read_text())
    assert {
        "eval_loss",
        "eval_rewards/margins",
        "eval_rewards/accuracies",
        "eval_confidence/gap_now",
    } <= results.keys()
    assert len(history(plain_run, "eval_loss")) == 2  # at steps 2 and 4; the one at the end is in eval_results.json
    assert history(plain_run, "eval_rewards/margins")[-1] == pytest.approx(results["eval_rewards/margins"])


def test_equals_the_hosts_dpo(settings: dict[str, Any], tmp_path: Path) -> None:
    """Same rows, same seed, both real trainers: losses, rewards, gradient norms and final weights agree to 1e-5."""
    settings = {**settings, "learning_rate": 1.0e-4, "kepo_beta": 0.25}
    ours = run(settings)
    changes = {"stage": "dpo", "kepo_beta": None, "pref_beta": 0.25, "output_dir": str(tmp_path / "host")}
    host = run({**settings, **changes})
    assert history(host)[-1] < history(host)[0] - 1e-4
    for key in ("loss", "grad_norm", "rewards/chosen", "rewards/margins", "logps/rejected"):
        assert history(ours, key) == pytest.approx(history(host, key), abs=1e-5, rel=1e-5), key
    same(ours, host, atol=1e-5)


def test_sharing_the_prompt_changes_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    settings |= PLAIN_STEPS
    shared = run(settings, output_dir=str(tmp_path / "shared"))
    off = run(settings, share_prefix="off")
    checkpointed = run(settings, disable_gradient_checkpointing=False, output_dir=str(tmp_path / "checkpointed"))
    assert history(shared)[-1] < history(shared)[0] - 0.005  # the weights did move
    same(shared, off, atol=2e-5)
    same(shared, checkpointed, atol=2e-5)


@pytest.mark.parametrize("split", [(1, 8), (4, 2)])
def test_accumulation_is_one_large_batch(settings: dict[str, Any], split: tuple[int, int], tmp_path: Path) -> None:
    size, steps = split
    whole = run(settings, per_device_train_batch_size=8, max_steps=2)
    changes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "max_steps": 2}
    same(whole, run(settings, **changes, output_dir=str(tmp_path / "parts")), atol=2e-5)


def test_an_uneven_last_step_weighs_every_pair_alike(settings: dict[str, Any], tmp_path: Path) -> None:
    """Sixteen pairs in micro-batches of 3: the last optimiser step of the epoch holds 3 + 3 + 1 pairs or 7 at once."""
    epoch = {"max_steps": None, "num_train_epochs": 1, "disable_shuffling": True}
    parts = run(settings, per_device_train_batch_size=3, gradient_accumulation_steps=3, **epoch)
    whole = run(settings, per_device_train_batch_size=9, output_dir=str(tmp_path / "whole"), **epoch)
    same(parts, whole, atol=2e-5)


class Messages(logging.Handler):
    """Collects what the host's logger and ours say."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())

    def taken(self) -> str:
        said, self.said = self.said, []
        return "\n".join(said)


@pytest.fixture
def host_log() -> Iterator[Messages]:
    handler = Messages()
    logging.getLogger("llamafactory").addHandler(handler)
    yield handler
    logging.getLogger("llamafactory").removeHandler(handler)


def test_reference_is_cached_reused_and_rebuilt_when_stale(
    settings: dict[str, Any], small_world: Path, tmp_path: Path, host_log: Messages
) -> None:
    cache = tmp_path / "references.jsonl"
    settings = {**settings, "ref_logps_cache": str(cache), "max_steps": 1}
    first = run(settings)
    assert "16 to do" in host_log.taken()
    lines = cache.read_text().splitlines()
    assert len(lines) == 17
    cache.write_text("\n".join(lines[:10]) + "\n" + lines[10][:20])  # as a kill leaves it: nine pairs and a cut line
    again = run(settings, output_dir=str(tmp_path / "again"))
    assert "7 to do" in host_log.taken()
    assert sorted(cache.read_text().splitlines()) == sorted(lines)
    assert history(again) == history(first)
    other = tmp_path / "other_model"
    other.mkdir()
    for file in (small_world / "tiny").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    changed = {name: tensor.clone() for name, tensor in loaded(small_world / "tiny").items()}
    next(iter(changed.values())).view(-1)[5] += 1e-3
    save_file(changed, other / "model.safetensors", metadata={"format": "pt"})
    run(settings, model_name_or_path=str(other), output_dir=str(tmp_path / "stale"))
    out = host_log.taken()
    assert "stale (model changed)" in out
    assert "16 to do" in out


def test_reference_is_rebuilt_when_the_configuration_changes(
    settings: dict[str, Any], small_world: Path, tmp_path: Path, host_log: Messages
) -> None:
    """The same weights with another `rope_theta` are another reference: at the first step the policy is still its own."""
    settings = {**settings, "ref_logps_cache": str(tmp_path / "references.jsonl"), "max_steps": 1}
    run(settings)
    host_log.taken()
    other = tmp_path / "other_config"
    shutil.copytree(small_world / "tiny", other)
    config = json.loads((other / "config.json").read_text())
    for part in (config, config.get("text_config", {})):
        for place in (part, part.get("rope_parameters") or {}, part.get("rope_scaling") or {}):
            if "rope_theta" in place:
                place["rope_theta"] = 50.0
    (other / "config.json").write_text(json.dumps(config))
    out = run(settings, model_name_or_path=str(other), output_dir=str(tmp_path / "other"))
    said = host_log.taken()
    assert "stale (config changed)" in said
    assert "16 to do" in said
    assert history(out)[0] == pytest.approx(math.log(2), abs=1e-5)


def test_cached_references_are_scored_again_at_every_start(
    settings: dict[str, Any], tmp_path: Path, host_log: Messages
) -> None:
    """What no header names shows in the numbers: all pairs are scored anew, and one line says so."""
    cache = tmp_path / "references.jsonl"
    settings = {**settings, "ref_logps_cache": str(cache), "max_steps": 1}
    run(settings)
    right = sorted(cache.read_text().splitlines())
    header, *lines = cache.read_text().splitlines()
    off = [json.dumps([key, chosen - 0.5, rejected]) for key, chosen, rejected in map(json.loads, lines)]
    cache.write_text("\n".join([header, *off]) + "\n")
    host_log.taken()
    out = run(settings, output_dir=str(tmp_path / "again"))
    said = host_log.taken()
    assert "4 pairs scored again differ by up to" in said
    assert said.count("rebuilt") == 1
    assert "16 to do" in said
    assert history(out)[0] == pytest.approx(math.log(2), abs=1e-5)
    again = [json.loads(line) for line in sorted(cache.read_text().splitlines()) if line.startswith("[")]
    for (key, *found), (other, *expected) in zip(
        again, (json.loads(line) for line in right if line.startswith("[")), strict=True
    ):
        assert key == other
        assert found == pytest.approx(expected, abs=1e-3)


def test_tokenised_rows_of_another_configuration_are_made_again(
    settings: dict[str, Any], tmp_path: Path, host_log: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host loads `tokenized_path` whatever the YAML says; here the copy must be the one that this run would make."""
    settings = {**settings, "tokenized_path": str(tmp_path / "tokenised"), "max_steps": 1}
    settings["ref_logps_cache"] = str(tmp_path / "references.jsonl")
    first = run(settings)
    again = run(settings, output_dir=str(tmp_path / "again"))
    said = host_log.taken()
    assert "Loaded tokenized dataset" in said
    assert "stale" not in said
    assert history(again) == history(first)
    # the host writes `default_system` into its registered template: taken back for the tests that follow
    monkeypatch.setattr(TEMPLATES["qwen2_vl"], "default_system", TEMPLATES["qwen2_vl"].default_system)
    run(settings, default_system="Be brief.", output_dir=str(tmp_path / "other"))
    said = host_log.taken()
    assert "Tokenised rows in" in said
    assert "stale (keys" in said
    assert "Loaded tokenized dataset" not in said


def test_sharing_that_would_change_the_numbers_is_noticed(
    settings: dict[str, Any], host_log: Messages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a mask that lets the rejected answer see the chosen one, `auto` falls back and says so, `on` refuses."""
    settings |= PLAIN_STEPS
    right = run(settings, output_dir=str(tmp_path / "right"))

    def leaking(model: torch.nn.Module, inputs: dict[str, Any], segments: torch.Tensor) -> torch.Tensor:
        length = segments.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril().expand(len(segments), 1, length, length)

    monkeypatch.setattr("llamafactory_hind.trainers.pairs.trainer.packed_masks", leaking)
    fallen_back = run(settings)
    assert "fell back to one row an answer, because packed log-probs differ" in host_log.taken()
    same(fallen_back, right, atol=2e-5)
    with pytest.raises(
        ValueError, match="`share_prefix: on` is not possible with this model: packed log-probs differ"
    ):
        run(settings, share_prefix="on", output_dir=str(tmp_path / "on"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_attn_implementation": "flash_attention_2"}, "`flash_attention_2` takes no mask of one's own"),
        (
            {"layer_types": ["full_attention", "linear_attention"]},
            "layers of kind ['linear_attention'] look past a mask",
        ),
    ],
)
def test_models_that_cannot_share_say_why(changes: dict[str, Any], reason: str) -> None:
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_key_value_heads=1))
    assert why_not_packed(model) is None
    for name, value in changes.items():
        setattr(model.config, name, value)
    assert reason in why_not_packed(model)


def test_lora_and_lora_on_top_of_an_adapter(settings: dict[str, Any], tmp_path: Path) -> None:
    """Fresh LoRA: the reference is the base. On an adapter: the reference is that adapter as it was, so losses start at log 2."""
    first = run(lora(settings))
    assert (first / "adapter_model.safetensors").is_file()
    assert history(first)[0] == pytest.approx(math.log(2), abs=1e-5)
    assert history(first, "rewards/margins")[-1] > 1e-3
    second = run(lora(settings, adapter_name_or_path=str(first), output_dir=str(tmp_path / "second")))
    assert history(second)[0] == pytest.approx(math.log(2), abs=1e-5)
    third = run(
        lora(
            settings,
            adapter_name_or_path=str(first),
            ref_model=settings["model_name_or_path"],
            output_dir=str(tmp_path / "third"),
        )
    )
    assert history(third)[0] != pytest.approx(math.log(2), abs=1e-4)  # against the base, the adapter has moved


def test_lora_on_the_output_head(settings: dict[str, Any], tmp_path: Path) -> None:
    """LoRA on `lm_head` is trained and scored: the host's dpo, which uses full logits, gives the same losses."""
    changes = lora(settings, lora_target="q_proj,lm_head")
    ours = run(changes)
    assert any("lm_head" in name for name in load_file(ours / "adapter_model.safetensors"))
    host = run({**changes, "stage": "dpo", "output_dir": str(tmp_path / "host")})
    assert history(ours) == pytest.approx(history(host), abs=1e-5)


def test_freeze_tuning_moves_only_the_last_layer(settings: dict[str, Any], small_world: Path) -> None:
    out = run(settings, finetuning_type="freeze", freeze_trainable_layers=1)
    before, after = loaded(small_world / "tiny"), loaded(out)
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved
    last = max(int(name.split("layers.")[1].split(".")[0]) for name in after if "layers." in name)
    assert all(f"layers.{last}." in name for name in moved), moved


@pytest.mark.parametrize(
    "options",
    [{"kepo_loss": "length_normalized"}, {"kepo_gap_weight": True}, {"kepo_nll_weight": 0.1}],
    ids=lambda options: next(iter(options)),
)
def test_every_option_trains_and_changes_the_run(settings: dict[str, Any], plain_run: Path, options: dict) -> None:
    losses = history(run(settings, **options))
    assert all(math.isfinite(loss) for loss in losses)
    assert losses != pytest.approx(history(plain_run), abs=1e-4)


def test_evaluation_alone_with_a_reference_model(settings: dict[str, Any], plain_run: Path, small_world: Path) -> None:
    """Evaluating the trained model against the base gives the margins that training ended with."""
    out = run(
        settings,
        do_train=False,
        do_eval=True,
        max_steps=None,
        dataset=None,
        eval_dataset="held_out",
        model_name_or_path=str(plain_run),
        ref_model=str(small_world / "tiny"),
    )
    results = json.loads((out / "eval_results.json").read_text())
    trained = json.loads((plain_run / "eval_results.json").read_text())
    assert results["eval_rewards/margins"] == pytest.approx(trained["eval_rewards/margins"], abs=1e-5)


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed(settings: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL once the checkpoint of step 4 is whole; the second command resumes from it and ends where one run would."""
    settings = {**settings, "max_steps": 8, "save_strategy": "steps", "save_steps": 2, "learning_rate": 3.0e-4}
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    out, file = Path(settings["output_dir"]), tmp_path / "killed"
    process = warm(settings, file)
    wait_for(out / "checkpoint-4" / "trainer_state.json", process)
    process.kill()
    assert not (out / "model.safetensors").exists()
    command(settings, file)
    log = file.with_suffix(".log").read_text()
    assert "Resuming training from" in log
    assert "16 from" in log  # the reference log-probs were kept
    assert history(out) == pytest.approx(history(whole), abs=1e-6)
    for name, tensor in loaded(whole).items():
        torch.testing.assert_close(loaded(out)[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def test_best_checkpoint_is_the_one_that_ends_up_saved(settings: dict[str, Any]) -> None:
    """`load_best_model_at_end` with a metric of pairs: the final weights are those of the best checkpoint, not the last."""
    out = run(
        settings,
        learning_rate=3.0e-2,  # too high on purpose: the best step is not the last
        eval_dataset="held_out",
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_logps/chosen",
        greater_is_better=True,
    )
    best = json.loads((out / "trainer_state.json").read_text())["best_model_checkpoint"]
    scores = history(out, "eval_logps/chosen")
    assert best.endswith(f"checkpoint-{1 + scores.index(max(scores))}")
    assert not best.endswith("checkpoint-4")
    for name, tensor in loaded(Path(best)).items():
        assert torch.equal(loaded(out)[name], tensor), name


def test_lora_resumes_exactly(settings: dict[str, Any], tmp_path: Path) -> None:
    """A run that stopped after the checkpoint of step 2 and one that never stopped end at the same adapter."""
    settings = lora(settings, save_strategy="steps", save_steps=2)
    whole = run(settings, output_dir=str(tmp_path / "whole"))
    part = run(settings, output_dir=str(tmp_path / "part"))
    shutil.rmtree(part / "checkpoint-4")
    again = run(settings, output_dir=str(part))
    assert history(again) == pytest.approx(history(whole), abs=1e-6)
    expected = load_file(whole / "adapter_model.safetensors")
    for name, tensor in load_file(again / "adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.slow
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """DDP over two processes of one pair each is one process of two pairs; ZeRO-2 on the CPU gives the same losses."""
    one = run(settings, output_dir=str(tmp_path / "one"))
    settings = {**settings, "per_device_train_batch_size": 1, "ddp_find_unused_parameters": False}
    warm(settings, tmp_path / "ddp", ranks=2).finish()
    same(Path(settings["output_dir"]), one, atol=3e-5)
    (tmp_path / "zero2.json").write_text(json.dumps(ZERO2))
    settings = {**settings, "output_dir": str(tmp_path / "zero2"), "deepspeed": str(tmp_path / "zero2.json")}
    warm(settings, tmp_path / "deepspeed", ranks=2).finish()
    same(tmp_path / "zero2", one, atol=3e-5)


def fsdp2(settings: dict[str, Any], file: Path) -> None:
    """Train on two processes that hold half of every weight each. See `shared.fsdp_on_cpu`."""
    file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = Path(__file__).resolve().parents[1] / "shared" / "fsdp_on_cpu.py"
    finished = subprocess.run(
        [*command, str(script), str(file)], capture_output=True, text=True, timeout=600, check=False
    )
    assert finished.returncode == 0, (finished.stdout + finished.stderr)[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [True, False])
def test_fsdp2_equals_one_process(settings: dict[str, Any], checkpointing: bool, tmp_path: Path) -> None:
    """Packed pairs, asked for as `accelerate launch` asks, also evaluated and saved whole.

    The output head is gathered a second time for the backward pass, which fails unless log-probs hang on the model's output.
    """
    settings |= {
        **PLAIN_STEPS,
        "max_steps": 2,
        "disable_gradient_checkpointing": not checkpointing,
        "share_prefix": "on",
    }
    settings |= {"eval_dataset": "held_out", "do_eval": True}
    one = run(settings, output_dir=str(tmp_path / "one"))
    fsdp2(settings | {"per_device_train_batch_size": 1}, tmp_path / "fsdp.yaml")
    out = Path(settings["output_dir"])
    same(out, one, atol=3e-5)
    results = [json.loads((folder / "eval_results.json").read_text()) for folder in (out, one)]
    assert results[0]["eval_loss"] == pytest.approx(results[1]["eval_loss"], abs=1e-5)


def test_a_split_model_is_refused_before_references_are_paid_for(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked for it: what counts is what the accelerator says."""
    monkeypatch.setattr(sharding, "sharding_of", lambda accelerator: "zero_3")
    with pytest.raises(ValueError, match=r"accelerator\.distributed_type: .* expected no DeepSpeed ZeRO-3"):
        run(settings)
    assert not (Path(settings["output_dir"]) / "ref_logps.jsonl").exists()
