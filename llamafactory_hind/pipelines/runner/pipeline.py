"""What a pipeline's file defines. A module is one: `pipelines/answer.py` and its neighbours are written to this page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from .arguments import SynthArguments
from .engines import EnginePool
from .rows import HINDSIGHT, Row


Entries = Mapping[str, Mapping[str, Any]]  # what is added to the output's name -> its entry in `dataset_info.json`


class Worker(Protocol):
    """Does the work of rows. It is made only where work is left, and opens its models then.

    Where it has a method `close`, that is called at the end.
    """

    async def work(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Return one JSON value a row; a local model gets a group of rows, a server one row for each call."""


class Pipeline(Protocol):
    """The names of a pipeline's module; six more may be left out.

    `NEEDS_ANSWER = False` takes rows without a gold answer, `NEEDS_QUESTION = False` without a question; `CHECKS_ITSELF` names
    fields whose problems do not make a row a bad one, because the pipeline looks at them itself; `FORMATTING = ROLLOUT` reads rows
    of that format, not of `hindsight`.
    `BESIDE` lists endings of files beside the output, (".report.json",) without it; `ENDINGS` what is added to the names of entries.
    Functions get the module's own `Arguments`, and may say so in their types.

    Attributes:
        SUMMARY: one line for `synth --help`.
        Arguments: dataclass of the keys, over `SynthArguments`; a prompt `x` has a key `x_prompt`.
        prompts: (row, arguments) -> (title, text) of every prompt, with stand-ins for what is written on the way.
        work_item: (row, arguments) -> everything the result depends on, see `provenance.work_content`.
        Worker: (arguments, pool) -> what does the work; models are had by `pool.open(...)`.
        finish: (rows with their results, arguments) -> rows of the output, and its entries for `dataset_info.json`.
    """

    SUMMARY: str

    @property
    def Arguments(self) -> type[SynthArguments]: ...

    def prompts(self, row: Row, arguments: Any, /) -> Iterator[tuple[str, str]]: ...

    def work_item(self, row: Row, arguments: Any, /) -> Mapping[str, Any]: ...

    def Worker(self, arguments: Any, pool: EnginePool, /) -> Worker: ...

    def finish(
        self, done: Sequence[tuple[Row, Any]], arguments: Any, /
    ) -> tuple[Sequence[Mapping[str, Any]], Entries]: ...


def endings(pipeline: Pipeline) -> tuple[str, ...]:
    """Return what is added to the output's name for its entries in `dataset_info.json`."""
    return tuple(getattr(pipeline, "ENDINGS", ("",)))


def beside(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the endings of the files that it writes beside the output."""
    return tuple(getattr(pipeline, "BESIDE", (".report.json",)))


def needs_answer(pipeline: Pipeline) -> bool:
    """Say whether a row without a gold answer is a bad one."""
    return bool(getattr(pipeline, "NEEDS_ANSWER", True))


def needs_question(pipeline: Pipeline) -> bool:
    """Say whether a row without a question is a bad one."""
    return bool(getattr(pipeline, "NEEDS_QUESTION", True))


def checks_itself(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the fields that the pipeline checks itself."""
    return tuple(getattr(pipeline, "CHECKS_ITSELF", ()))


def row_formats(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the formats of the rows that it reads; `FORMATTING` is one name, or a tuple of them."""
    found = getattr(pipeline, "FORMATTING", HINDSIGHT)
    return (found,) if isinstance(found, str) else tuple(found)
