"""One run of an online stage, from the host's arguments to the model card; what the stage is, its annotator says."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.model import load_model, load_tokenizer
from llamafactory.train.trainer_utils import create_ref_model

from ...engines.local.encoding import collate
from ...engines.local.weights import LoadedModel
from ...engines.open import RolloutEngines
from ...engines.vllm.rows import check_served_rows
from ..fit import fit, write_model_card
from ..host import HostArguments
from ..row_guard import RowGuard
from ..rows import read_rows
from .batch import prompt_of
from .description import RunDescription
from .rewards import check_rewards, tell_golds
from .trainer import RolloutTrainer
from .writing import RolloutOptions


if TYPE_CHECKING:
    from .annotator import Annotator


PLOTS = ("loss", "reward", "reward_std", "completion_length", "entropy")


class Checked(Protocol):
    """Rewards that can be tried on a row."""

    names: list[str]
    weights: list[float]

    def check(self, row: Mapping[str, Any], completion: str) -> Any:
        """Raise if a reward does not work."""

    def describe_golds(self, rows: Iterable[Mapping[str, Any]]) -> str | None:
        """Say how the gold texts of rows are read."""


def run_online(
    rewards: Checked,
    annotator: Callable[[LoadedModel, RolloutEngines], "Annotator"],
    args: HostArguments,
    *,
    check_dataset: Callable[[Any], Any] = lambda dataset: None,
) -> None:
    """Read prompts, load the model, train, evaluate, write the model card.

    Args:
        rewards: tried on a real row before the model is loaded.
        annotator: makes the stage's annotator of the policy, and of the engines that write with it.
        args: the host's, with the keys of the stage.
        check_dataset: looks at the processed training rows before the model is loaded.
    """
    trains = args.training.do_train
    tokenizer_module = load_tokenizer(args.model)
    tokenizer = tokenizer_module["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, args.data)
    dataset_module = read_rows(args, template, tokenizer_module)
    check_rewards(rewards.check, dataset_module)
    if trains:
        tell_golds(rewards.describe_golds, dataset_module["train_dataset"])
        check_dataset(dataset_module["train_dataset"])
    if args.finetuning.rollout_engine == "vllm":
        for rows in dataset_module.values():
            check_served_rows(rows)
    model = load_model(tokenizer, args.model, args.finetuning, trains)
    loaded = LoadedModel(model, tokenizer, tokenizer_module["processor"], template)
    reference = create_ref_model(args.model, args.finetuning) if args.finetuning.kl_beta and trains else None
    engines = RolloutEngines.of(args.finetuning, loaded, output_dir=args.training.output_dir)
    with closing(engines), closing(annotator(loaded, engines)) as method:
        trainer = RolloutTrainer(
            annotator=method,
            options=RolloutOptions.of(args),
            loaded=loaded,
            engines=engines,
            reference=reference,
            guard=_guard(args, loaded, dataset_module),
            described=RunDescription.of(args, loaded, rewards),
            finetuning_args=args.finetuning,
            args=args.training,
            callbacks=args.callbacks,
            processing_class=tokenizer,
            **dataset_module,
        )
        evaluated = ["eval_reward"] if trainer.eval_dataset is not None else []
        fit(trainer, args, plots=[*PLOTS, *evaluated])
    write_model_card(trainer, args)


def _guard(args: HostArguments, loaded: LoadedModel, rows: Mapping[str, Any]) -> RowGuard:
    """Have prompts that cannot be read named, and replaced where bad rows are skipped."""

    def try_row(features: list[Any]) -> None:
        collate(loaded, [prompt_of(feature) for feature in features], padding_side="left")

    sets = [some for part in rows.values() for some in (part.values() if isinstance(part, dict) else [part])]
    return RowGuard.of(args, try_row, *sets)
