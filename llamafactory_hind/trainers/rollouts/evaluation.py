"""Evaluation of an online stage: completions are rewarded, nothing is learnt."""

from typing import Any

import torch
from transformers.trainer_utils import EvalLoopOutput

from ...engines.local.sharded import whole
from .metrics import evaluation_metrics
from .step import StepRollouts


class EvaluatedRollouts(StepRollouts):
    """The part of the rollout trainer that evaluates."""

    def evaluation_loop(
        self, dataloader: Any, description: str, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        """Reward a greedy completion of each prompt, and `num_generations` sampled ones beside it."""
        with whole(self.model):
            return self._evaluation_loop(dataloader, metric_key_prefix)

    def _evaluation_loop(self, dataloader: Any, metric_key_prefix: str) -> EvalLoopOutput:
        if next(self.model.parameters()).device != self.args.device:
            self.model.to(self.args.device)  # evaluation without training
        if self.ahead is not None:
            self.ahead.settle()
        self.engines.sync(self.model)  # whatever the step: the best weights may have been loaded
        self.annotator.at(1.0)  # rewards of all evaluations are weighed alike
        names: list[str] = []
        found = []
        self.callback_handler.eval_dataloader = dataloader
        for batch in dataloader:
            self._forget_media()
            with self.precision():
                rollouts = self._write(batch.features, stream="evaluation", greedy_first=True)
            scores = self.annotator.score(rollouts)
            self.rollout_log.completions.evaluated(rollouts, scores)
            metrics = evaluation_metrics(rollouts, scores)
            names = sorted(metrics)
            values = torch.stack([metrics[name].float() for name in names], 1).to(self.args.device)  # (N, M)
            values[[rollout.stands_in for rollout in rollouts]] = float("nan")  # a bad row has no numbers
            found.append(self.accelerator.gather_for_metrics(values).cpu())
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        self.rollout_log.completions.put_evaluation(
            metric_key_prefix, step=self.state.global_step, epoch=float(self.state.epoch or 0.0)
        )
        rows = torch.cat(found) if found else torch.zeros(0, 0)
        means = dict(zip(names, rows.nanmean(0).tolist(), strict=True))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(rows))
