"""`pipeline: external`: what another model answers to rollout rows, as their column `external` (Vision-EKIPL, arXiv 2506.06856).

`stage: external_grpo` puts these actions into its groups. A run for each model: entries are appended to those that are there.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config.command import split_names
from ..config.problem import Problem
from ..engines.interface import FinishReason, Request
from ..formats.fields import entries_of
from ..formats.media.fields import MEDIA_FIELDS, count_placeholders
from ..formats.rollout.rows import turns_of
from ..formats.texts.layout import has_layout, is_cut
from ..storage.files import write_rows
from .rules.selecting import ACTION, reward_actions, reward_problem, select_actions
from .runner.arguments import SamplingArguments, at_least
from .runner.engines import EnginePool
from .runner.prompting import render
from .runner.provenance import provenance, work_content
from .runner.reports import report
from .runner.row import ROLLOUT, Row


SUMMARY = "writes another model's actions for rollout rows, the column `external` of `stage: external_grpo`"
BESIDE = (".report.json", ".selected.json")
ENDINGS = ("", "_selected")
FORMATTING = ROLLOUT
NEEDS_ANSWER = False  # only rewards need one
KEPT = "kept"


@dataclass(kw_only=True)
class Arguments(SamplingArguments):
    """The keys of this pipeline."""

    source: str | None = field(default=None, metadata={"help": "Name of the model in the rows; null is its own name."})
    num_samples: int = field(
        default=1,
        metadata={"help": "Actions for each row [ours]; 0 writes none and only selects from those of the rows."},
    )
    max_new_tokens: int = field(default=512, metadata={"help": "An action that is cut here is dropped [ours]."})
    external_prompt: str | None = field(
        default=None, metadata={"help": "Jinja file of the last user turn; null is ours in `language`."}
    )
    reward_funcs: str | None = field(
        default=None,
        metadata={
            "help": "Rewards that select good actions as a dataset for `stage: sft`; null writes no such dataset."
        },
    )
    min_reward: float = field(
        default=1.0, metadata={"help": "An action is good if the sum of its rewards is at least this [ours]."}
    )
    reward_timeout: float = field(default=60.0, metadata={"help": "Seconds that a call of a reward may take [ours]."})

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong across keys."""
        yield from super().problems()
        yield from at_least(self, 1, "max_new_tokens")
        yield from at_least(self, 0, "num_samples")
        yield from self.greedy_repeats("num_samples")
        if self.num_samples == 0 and not self.reward_funcs:
            yield Problem("num_samples", 0, "1 or more without `reward_funcs`", "There is nothing to do.")
        if self.reward_timeout <= 0:
            yield Problem("reward_timeout", self.reward_timeout, "more than 0 seconds", "Choose a larger number.")
        if self.source == "policy":
            yield Problem(
                "source", self.source, "another name", "In training it is the name of the policy's own texts."
            )
        if self.reward_funcs and (problem := reward_problem(split_names(self.reward_funcs))):
            yield problem

    @property
    def source_name(self) -> str:
        """Name of the model in the rows."""
        return self.source or Path(self.writer[0]).name


def conversation(row: Row, arguments: Arguments) -> tuple[str, list[dict[str, str]]]:
    """Return system text and turns; the last one is rendered from the prompt file."""
    system, turns = turns_of(row.fields)
    asked = replace(row, fields=row.fields | {"question": turns[-1]["content"]})
    # placeholders are in the turns already
    return system, [*turns[:-1], {"role": "user", "content": render(arguments, "external", asked, media="")}]


def prompts(row: Row, arguments: Arguments) -> Iterator[tuple[str, str]]:
    """Yield what `dry_run` shows of a row."""
    if arguments.num_samples:
        yield "external", conversation(row, arguments)[1][-1]["content"]


def parameters(arguments: Arguments) -> dict[str, Any]:
    """Return the parameters that a row's result depends on."""
    return arguments.parameters("num_samples", "temperature", "top_p", "top_k", "max_new_tokens", "seed")


def work_item(row: Row, arguments: Arguments) -> dict[str, Any]:
    """Return everything the result of a row depends on."""
    system, turns = turns_of(row.fields)
    return work_content(
        arguments,
        row,
        prompts(row, arguments),
        [arguments.writer],
        parameters(arguments),
        before=[system, turns[:-1]],
    )


class Worker:
    """Does the work of rows."""

    def __init__(self, arguments: Arguments, pool: EnginePool) -> None:
        """Open the model that writes, if anything is to be written."""
        self.arguments = arguments
        adapters = split_names(arguments.adapter_name_or_path)
        self.writer = pool.open(adapters=adapters) if arguments.num_samples else None

    async def work(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the texts written for each row, with log q of each where the engine gives it."""
        if self.writer is None:
            return [{"actions": []} for _ in rows]
        sampling = self.arguments.sampling(self.arguments.num_samples, self.arguments.max_new_tokens)
        written = await self.writer.generate([self._request(row) for row in rows], sampling)
        return [
            {
                "actions": [
                    {"text": one.text.strip(), "logprob": one.logprob, "finish_reason": one.finish_reason}
                    for one in completions
                ]
            }
            for completions in written
        ]

    def _request(self, row: Row) -> Request:
        system, turns = conversation(row, self.arguments)
        media: Mapping[str, Any] = {kind: row.media[kind] for kind in MEDIA_FIELDS}
        return Request(turns, system=system or None, key=row.id, **media)


def judge(action: Mapping[str, Any], known: Collection[str]) -> str:
    """Return `kept`, or why a text does not become an action; `known` are those that the row has from this source."""
    checks = {
        "empty": not action["text"],
        "cut at max_new_tokens": action["finish_reason"] == FinishReason.LENGTH or is_cut(action["text"]),
        "media placeholder in the text": any(count_placeholders(action["text"]).values()),
        "in the row already": action["text"] in known,
    }
    return next((reason for reason, failed in checks.items() if failed), KEPT)


def finish(
    done: Sequence[tuple[Row, dict[str, Any]]], arguments: Arguments
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the rows with the new entries behind those they had; select, and write the counts beside the output."""
    name = arguments.source_name
    written: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    bare = 0
    for row, result in done:
        entries = list(entries_of(row.fields, "external"))
        known = {entry["text"] for entry in entries if entry["source"] == name}
        for action in result["actions"]:
            reason = judge(action, known)
            reasons[reason] += 1
            if reason == KEPT:
                known.add(action["text"])
                bare += not has_layout(action["text"])
                entries.append({"source": name, "text": action["text"], "logprob": action["logprob"]})
        source = provenance(arguments, row, prompts=("external",), parameters=parameters(arguments))
        written.append(row.fields | {"id": row.id, "external": entries, "provenance": source})
    counts: dict[str, Any] = {"rows": len(written), "source": name, "kept": reasons.pop(KEPT, 0)}
    counts |= {"dropped": dict(reasons.most_common()), "without_layout": bare}
    names = {"": {"formatting": ROLLOUT}}
    if arguments.reward_funcs:
        names |= _select(written, arguments, counts)
    report(arguments, counts)
    return written, names


def _select(rows: Sequence[dict[str, Any]], arguments: Arguments, counts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Write the good actions beside the output; return the dataset that reads them, none where there are none."""
    totals = reward_actions(rows, split_names(arguments.reward_funcs), timeout=arguments.reward_timeout)
    by_source: dict[str, list[float]] = {}
    for row, rewards in zip(rows, totals, strict=True):
        for entry, reward in zip(row["external"], rewards, strict=True):
            by_source.setdefault(entry["source"], []).extend([] if reward is None else [reward])
    selected = select_actions(rows, totals, least=arguments.min_reward)
    counts["mean_reward"] = {source: sum(some) / len(some) for source, some in by_source.items() if some}
    counts["selected"] = len(selected)
    file = arguments.beside_output(".selected.json")
    write_rows(file, selected, by=arguments.written_by)
    if not selected:
        return {}
    relative = Path(os.path.relpath(file, arguments.dataset_dir)).as_posix()
    return {"_selected": {"file_name": relative, "formatting": ROLLOUT, "columns": {"answer": ACTION}}}
