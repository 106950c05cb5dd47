"""The host's log callback, with every metric of our stages in `trainer_log.jsonl`, not loss and learning rate alone."""

from functools import partial
from typing import Any

from llamafactory.train.callbacks import LogCallback


# The host writes these under names of its own, or they say nothing beside them.
HOST_KEYS = {"loss", "eval_loss", "predict_loss", "reward", "rewards/accuracies", "learning_rate", "epoch", "step"}


class MetricsLogCallback(LogCallback):
    """Writes every number the trainer logs; LLaMA Board reads the same file and ignores what it does not know."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add this line's metrics to what the host writes."""
        latest = state.log_history[-1] if state.log_history else {}
        metrics = {name: value for name, value in latest.items() if name not in HOST_KEYS}
        # The host hands `self._write_log` to a thread: the metrics must travel with the call, not on the object.
        self._write_log = partial(self._write_with, metrics)
        super().on_log(args, state, control, **kwargs)

    def _write_with(self, metrics: dict[str, Any], output_dir: str, logs: dict[str, Any]) -> None:
        LogCallback._write_log(self, output_dir, {**logs, **metrics})
