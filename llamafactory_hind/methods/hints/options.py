"""How hints are asked for and used: the keys `hint_*` of `stage: gated_distill`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...engines.interface import Sampling
from .prompts import HintPrompts


if TYPE_CHECKING:
    from ...trainers.host import HostArguments


@dataclass(frozen=True)
class HintOptions:
    """How exploration with hints works.

    Attributes:
        samples: K, hinted completions a prompt at most; 0 turns exploration off.
        max_attempts: times that the student writes K completions, at most.
        trigger: `no_success`, `always`, or `all_zero`: no reward of any completion is above or below 0 (the official rule).
        tags: a hint stands between `<hint>` and `</hint>`; False takes the whole text.
        prompts: what the teacher is asked, and what the student is shown.
        teacher_sampling: how the teacher writes a hint.
        prompts_at_once: written by the student at a time, as in rollouts.
        seed: of all random numbers.
        needs_logprob: score log q under the prompt with the hint, at the temperature of the rollouts, for importance ratios.
    """

    samples: int
    max_attempts: int
    trigger: str
    tags: bool
    prompts: HintPrompts
    teacher_sampling: Sampling
    prompts_at_once: int
    seed: int
    needs_logprob: bool

    @classmethod
    def of(cls, args: "HostArguments") -> "HintOptions":
        """Read the keys and the prompt files.

        Raises:
            ValueError: a prompt file cannot be used.
        """
        keys, training = args.finetuning, args.training
        return cls(
            samples=keys.hint_samples,
            max_attempts=keys.hint_max_attempts,
            trigger=keys.hint_trigger,
            tags=keys.hint_tags,
            prompts=HintPrompts.read(
                hint_prompt=keys.hint_prompt,
                hinted_prompt=keys.hinted_prompt,
                language=keys.hint_language,
                variant=keys.hint_variant,
            ),
            teacher_sampling=Sampling(
                n=1,
                temperature=keys.hint_temperature,
                top_p=1.0,
                top_k=0,
                max_new_tokens=keys.hint_max_new_tokens,
                seed=training.seed,
            ),
            prompts_at_once=training.per_device_train_batch_size,
            seed=training.seed,
            needs_logprob=keys.external_ratio == "behavior",
        )
