"""What a result depends on, and where a row comes from: row, pipeline, prompts, models and parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...storage.digests import digest_media
from .prompting import model_identity, prompt_version


if TYPE_CHECKING:
    from .arguments import SynthArguments
    from .row import Row


def work_content(
    arguments: "SynthArguments",
    row: "Row",
    prompts: Iterable[tuple[str, str]],
    models: Iterable[tuple[str | None, Sequence[str]]],
    parameters: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Return everything the result of a row depends on, from which its key is made.

    Args:
        arguments: of the run.
        row: which.
        prompts: (title, text), rendered for the row.
        models: (name, adapters) of each that writes or judges; a name of None is the model that writes.
        parameters: of the pipeline, with `arguments.host_settings`.
        **more: fields of the row that count beside the prompts, such as the gold answer.
    """
    return {
        "pipeline": arguments.pipeline,
        "engine": arguments.engine,
        "id": row.id,
        "prompts": list(prompts),
        "system": row.fields.get("system"),
        "media": digest_media(row.media),
        "models": [model_identity(arguments, model or arguments.writer[0], adapters) for model, adapters in models],
        "parameters": dict(parameters),
        **more,
    }


def provenance(
    arguments: "SynthArguments",
    row: "Row | None",
    *,
    prompts: Sequence[str],
    parameters: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return the field `provenance` of a row.

    Args:
        arguments: of the run.
        row: from which it was made; None leaves `source_id` out, for reports and to make it once for many rows.
        prompts: names of the prompt files that were used.
        parameters: what the result depends on, as in the key of its work item.
        **more: of the pipeline, such as a second model.
    """
    model, adapters = arguments.writer
    source = {} if row is None else {"source_id": row.id}
    return source | {
        "pipeline": arguments.pipeline,
        "prompt_version": prompt_version(arguments, *prompts),
        "engine": arguments.engine,
        "model": model,
        "adapter": ",".join(adapters),
        **more,
        "parameters": dict(parameters or {}),
    }
