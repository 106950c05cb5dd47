"""Reading one `rollout` row: its options, what is wrong with it, and the turns of its prompt."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.problem import RowProblem, show
from ..fields import as_list, is_missing
from ..media.fields import MEDIA_FIELDS, PLACEHOLDERS, count_placeholders
from ..options import RowOptions, misspelt_keys, refuse_entry, wrong_columns, wrong_flags


FIELDS = ("id", "messages", "prompt", *MEDIA_FIELDS, "system", "tools", "answer", "external", "hint")
OUR_KEYS = ("columns", "skip_bad_rows")
TURNS = ("user", "assistant")


@dataclass(frozen=True, kw_only=True)
class RolloutOptions(RowOptions):
    """The options of one dataset: those of every format."""


def read_options(info: Mapping[str, Any], *, name: str) -> RolloutOptions:
    """Return the options of a `dataset_info.json` entry.

    Args:
        info: the entry; keys that are the host's are left to the host.
        name: the dataset, for the error.

    Raises:
        ValueError: names every wrong key with its value, what is expected and what to do.
    """
    problems = [*misspelt_keys(info, OUR_KEYS), *wrong_flags(info, "skip_bad_rows")]
    if info.get("ranking"):
        problems.append("ranking: got true, expected none: rollouts use prompts, not pairs")
    columns = info.get("columns", {})
    problems += wrong_columns(columns, FIELDS)
    refuse_entry(problems, name=name, formatting="rollout")
    return RolloutOptions(skip_bad_rows=info.get("skip_bad_rows", False), columns=tuple(columns.items()))


def turns_of(fields: Mapping[str, Any]) -> tuple[str, list[dict[str, str]]]:
    """Return (system text, turns from a user's first to a user's last) of a row that has passed `find_problems`.

    Without any placeholder, one a medium is put in front of the first turn, images first, then videos and audios.
    """
    system = fields.get("system") or ""
    if is_missing(fields.get("messages")):
        turns = [{"role": "user", "content": fields["prompt"]}]
    else:
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in fields["messages"]]
    if turns[0]["role"] == "system":
        system = turns.pop(0)["content"]
    if not any(any(count_placeholders(turn["content"]).values()) for turn in turns):
        prefix = "".join(PLACEHOLDERS[kind] * len(as_list(fields.get(kind))) for kind in MEDIA_FIELDS)
        turns[0]["content"] = prefix + turns[0]["content"]
    return system, turns


def find_problems(fields: Mapping[str, Any], options: RowOptions) -> Iterator[RowProblem]:
    """Yield everything that is wrong with the texts, types and placeholders of a row (media files: `media.MediaCheck`)."""
    yield from _prompt_problems(fields)
    for field in ("system", "tools", "hint"):
        if not isinstance(fields.get(field, ""), str):
            yield RowProblem(field, show(fields[field]), "text", "write text or null")
    yield from _external_problems(fields.get("external"))
    for field in ("hint", "system"):
        yield from _media_free(field, fields.get(field))


def question_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    """Yield what is wrong with a row as a question that has a gold answer, whatever its dataset trains."""
    yield from find_problems(fields, RolloutOptions())
    if is_missing(fields.get("answer")):
        yield RowProblem("answer", show(None), "a gold answer", "write it")


def question_of(fields: Mapping[str, Any]) -> str | None:
    """Return the last turn of the prompt; None where the prompt cannot be used."""
    if next(_prompt_problems(fields), None) is not None:
        return None
    return turns_of(fields)[1][-1]["content"]


def response_of(fields: Mapping[str, Any], options: RowOptions) -> str | None:
    """Return the assistant turn that the host's stages train on: the gold answer where it is text or a number."""
    answer = fields.get("answer")
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        return str(answer)
    return answer if isinstance(answer, str) and answer.strip() else None


def _prompt_problems(fields: Mapping[str, Any]) -> Iterator[RowProblem]:
    prompt, messages = fields.get("prompt"), fields.get("messages")
    if is_missing(prompt) == is_missing(messages):
        got = "nothing" if is_missing(prompt) else "both"
        yield RowProblem(
            "prompt, messages", got, "one of the two", "write the question as `prompt`, or turns as `messages`"
        )
        return
    if messages is None or is_missing(messages):
        if not isinstance(prompt, str):
            yield RowProblem("prompt", show(prompt), "non-empty text", "write it as text; turns go into `messages`")
            return
        contents = [prompt]
    else:
        problems = list(_turn_problems(messages))
        if fields.get("system") and not problems and messages[0]["role"] == "system":
            problems.append(RowProblem("system", show(fields["system"]), "one system text", "remove one of the two"))
        yield from problems
        if problems:
            return
        contents = [turn["content"] for turn in messages if turn["role"] != "system"]
    found = {kind: sum(count_placeholders(content)[kind] for content in contents) for kind in MEDIA_FIELDS}
    for kind in MEDIA_FIELDS if any(found.values()) else ():
        media = len(as_list(fields.get(kind)))
        if found[kind] != media:
            got = f"{found[kind]} {PLACEHOLDERS[kind]} in the text and {media} entries in `{kind}`"
            remedy = f"write one {PLACEHOLDERS[kind]} for each entry of `{kind}`, or no placeholder of any kind"
            field = "prompt" if is_missing(messages) else "messages"
            yield RowProblem(field, got, "as many placeholders as media", remedy)


def _turn_problems(messages: Any) -> Iterator[RowProblem]:
    if not isinstance(messages, list):
        yield RowProblem("messages", show(messages), "a list of turns", 'write [{"role": "user", "content": "…"}]')
        return
    has_system = isinstance(messages[0], Mapping) and messages[0].get("role") == "system"
    for index, turn in enumerate(messages):
        field = f"messages[{index}]"
        content = turn.get("content") if isinstance(turn, Mapping) else None
        if not isinstance(content, str) or is_missing(content):
            remedy = "write the content as text; media belong in `images`, `videos`, `audios`"
            yield RowProblem(f"{field}.content", show(content), "non-empty text", remedy)
            continue
        role = "system" if has_system and index == 0 else TURNS[(index - has_system) % 2]
        if turn.get("role") != role:
            expected = f"role {role!r} (an optional system turn, then user and assistant alternating)"
            yield RowProblem(f"{field}.role", show(turn.get("role")), expected, "correct the order")
    if (len(messages) - has_system) % 2 == 0:
        remedy = "the policy writes the next turn: end with a user turn"
        yield RowProblem("messages", f"{len(messages)} turns", "a user turn at the end", remedy)


def _external_problems(external: Any) -> Iterator[RowProblem]:
    if is_missing(external):
        return
    if not isinstance(external, list):
        remedy = 'write [{"source": "…", "text": "…", "logprob": null}], or null'
        yield RowProblem("external", show(external), "a list of texts of other models", remedy)
        return
    for index, action in enumerate(external):
        field = f"external[{index}]"
        if not isinstance(action, Mapping):
            yield RowProblem(field, show(action), '{"source", "text", "logprob"}', "write an object")
            continue
        for name in ("source", "text"):
            if not isinstance(action.get(name), str) or is_missing(action[name]):
                yield RowProblem(
                    f"{field}.{name}", show(action.get(name)), "non-empty text", "write it, or drop the entry"
                )
        yield from _media_free(f"{field}.text", action.get("text"))
        logprob = action.get("logprob")
        is_number = isinstance(logprob, (int, float)) and not isinstance(logprob, bool)
        if logprob is not None and not (is_number and float("-inf") < logprob <= 0):
            expected = "a number, at most 0: the log-probability of the whole text (natural logarithm)"
            yield RowProblem(f"{field}.logprob", show(logprob), expected, "write it, or null where it is not known")
        temperature = action.get("logprob_temperature")
        is_number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        if temperature is not None and not (is_number and 0 < temperature < float("inf")):
            expected = "a number above 0: the temperature of the distribution that `logprob` is of"
            yield RowProblem(
                f"{field}.logprob_temperature", show(temperature), expected, "write it, or leave it out for 1"
            )


def _media_free(field: str, text: Any) -> Iterator[RowProblem]:
    if isinstance(text, str) and any(count_placeholders(text).values()):
        remedy = "remove the placeholder: only the prompt places media"
        yield RowProblem(field, show(text), "text without media placeholders", remedy)
