"""A row that cannot be encoded is named and may be skipped, whatever the error: in our processors and in the host's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from llamafactory.data.processor import PackedSupervisedDatasetProcessor, UnsupervisedDatasetProcessor

from ...config.problem import RowProblem, shorten_text
from ..media.fields import MEDIA_FIELDS
from ..media.host_view import UnreadableMedium
from ..texts.control_tokens import ControlTokens, control_problem
from .origin import PLACE, SIDE_FILE, WRITTEN, origin_of
from .skipping import skip_row


if TYPE_CHECKING:
    from llamafactory.data.processor.processor_utils import DatasetProcessor

SHOWN = 200  # characters of an error
ORIGINS = ("_source", "_side_file")  # columns of an aligned example
Done = TypeVar("Done")


class FieldError(ValueError):
    """An error that is known to be of one field of a row."""

    def __init__(self, field: str, error: Exception) -> None:
        """Take the field and the error that was met with it."""
        super().__init__(str(error))
        self.field = field


def problem_of(error: Exception, media: Mapping[str, Any]) -> RowProblem:
    """Return an error that was met with a row as a problem of its field.

    Args:
        error: any.
        media: kind -> media of the row; one that has some is suspected first.
    """
    if isinstance(error, UnreadableMedium):
        return RowProblem(error.kind, error.item, "a readable medium", f"{error.reason}; correct the path or the file")
    if isinstance(error, FieldError):
        told = shorten_text(str(error), limit=SHOWN)
        return RowProblem(
            error.field, f"a text that cannot be written for the model ({told})", "another text", "correct it"
        )
    field = ", ".join(kind for kind in MEDIA_FIELDS if media.get(kind)) or "prompt"
    told = shorten_text(f"{type(error).__name__}: {error}", limit=SHOWN)
    return RowProblem(field, told, "a row that the model's template and processor take", "correct the row")


def media_of(example: Mapping[str, Any]) -> dict[str, Any]:
    """Return the media of an aligned example by their kind."""
    return {kind: example.get(f"_{kind}") or [] for kind in MEDIA_FIELDS}


def text_problem(example: Mapping[str, Any], controls: ControlTokens) -> RowProblem | None:
    """Return the first control token in the texts of an aligned example: rows of the host's formats are not read before."""
    texts = [(f"prompt, turn {number}", turn["content"]) for number, turn in enumerate(example["_prompt"], start=1)]
    texts += [(f"response {number}", turn["content"]) for number, turn in enumerate(example["_response"], start=1)]
    texts += [("system", example["_system"] or ""), ("tools", example["_tools"] or "")]
    found = ((field, controls.find(text)) for field, text in texts)
    return next((control_problem(field, token) for field, token in found if token), None)


def encode_or_skip(
    processor: Any, controls: ControlTokens, example: Mapping[str, Any], index: int
) -> tuple[dict[str, Any], Any] | None:
    """Return an aligned example, as it is read, with what the processor's `_encode` makes of it; None for a row that is skipped.

    Args:
        processor: of ours.
        controls: of its tokenizer.
        example: aligned; of the host's formats, its texts have not been looked at.
        index: its place in the batch.

    Raises:
        BadRowsError: the row cannot be encoded, and bad rows are not skipped.
    """
    if getattr(processor.data_args, "control_tokens", "error") == "escape":
        example = controls.escape_example(example)
    problem = text_problem(example, controls)
    if problem is not None:
        skip_row(processor.data_args, example, index, problem)
        return None
    return done_or_skip(processor, example, index, lambda: (dict(example), processor._encode(example)))


def done_or_skip(processor: Any, example: Mapping[str, Any], index: int, work: Callable[[], Done]) -> Done | None:
    """Return what some work with an aligned example gives; None for a row that is skipped.

    Raises:
        BadRowsError: the work fails, and bad rows are not skipped.
    """
    try:
        return work()
    except MemoryError:
        raise  # says nothing about a row
    except Exception as error:
        skip_row(processor.data_args, example, index, problem_of(error, media_of(example)))
        return None


@dataclass
class GuardedProcessor:
    """A processor of the host over rows of ours: where a batch fails, its rows are tried one by one.

    Attributes:
        host: the host's processor.
    """

    host: "DatasetProcessor"

    def preprocess_dataset(self, examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return what the host makes of the rows that it can encode.

        Raises:
            BadRowsError: it cannot encode one, and bad rows are not skipped.
        """
        try:
            return self._marked(self.host.preprocess_dataset(examples), examples)
        except MemoryError:
            raise  # says nothing about a row
        except Exception:
            if "_source" not in examples:
                raise
        count = len(examples["_source"])
        good = _some(examples, [place for place in range(count) if self._can_encode(_some(examples, [place]), place)])
        return self._marked(self.host.preprocess_dataset(good), good)

    def _marked(self, made: Mapping[str, list[Any]], examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Add where processed rows come from; not to texts without a place for media (`pt`)."""
        if "_source" not in examples or "images" not in made:
            return dict(made)
        origins = self._origins(examples, len(made["images"]))
        marks = {name: [origin[name] for origin in origins] for name in (PLACE, SIDE_FILE)}
        return {**made, **marks, WRITTEN: [isinstance(self.host, UnsupervisedDatasetProcessor)] * len(origins)}

    def _origins(self, examples: dict[str, list[Any]], count: int) -> list[dict[str, str]]:
        places = list(range(len(examples["_source"])))
        if count != len(places):  # the host drops some, or makes several into one
            places = [place for place in places for _ in self._made_of(_some(examples, [place]))]
        rows = [{name: examples[name][place] for name in ORIGINS} for place in places]
        if len(rows) == count and not isinstance(self.host, PackedSupervisedDatasetProcessor):
            return list(map(origin_of, rows))
        files = dict.fromkeys((row["_source"] or "").rpartition(", row ")[0] for row in rows)
        return [origin_of({**rows[0], "_source": f"rows of {', '.join(files)}, joined"})] * count

    def _made_of(self, one: dict[str, list[Any]]) -> list[Any]:
        return list(self.host.preprocess_dataset(one).get("images", ()))

    def _can_encode(self, one: dict[str, list[Any]], place: int) -> bool:
        try:
            self.host.preprocess_dataset(one)
        except MemoryError:
            raise
        except Exception as error:
            example = {name: values[0] for name, values in one.items()}
            skip_row(self.host.data_args, example, place, problem_of(error, media_of(example)))
            return False
        return True

    def print_data_example(self, example: dict[str, list[int]]) -> None:
        """Print an example as the host does."""
        self.host.print_data_example(example)


def _some(examples: Mapping[str, Sequence[Any]], places: Sequence[int]) -> dict[str, list[Any]]:
    return {name: [values[place] for place in places] for name, values in examples.items()}
