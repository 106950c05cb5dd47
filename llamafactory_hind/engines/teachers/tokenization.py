"""Whether two models mean the same by the same ids: asked before one is shown what the other has written."""

from typing import TYPE_CHECKING

from llamafactory.extras import logging
from llamafactory.extras.constants import IMAGE_PLACEHOLDER
from PIL import Image

from ...config.problem import first_of, listed
from ..interface import Request
from ..local.encoding import encode, media_token_ids
from ..local.weights import LoadedModel


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizer

logger = logging.get_logger("llamafactory.hind.engines.teachers.tokenization")
SHOWN = 5
# Two sizes: processors of other patch sizes or limits may agree on one. Words of several scripts: merges may differ where ids do not.
PICTURES = ((56, 56), (224, 336))
SAMPLE = "Which of the 2 things is 3.14 cm left of it?\n\tOù ça, señor? 図の左は何ですか。\n<think> x_{i+1} </think>"


def check_same_tokenization(student: LoadedModel, teacher: LoadedModel, *, name: str) -> None:
    """Compare ids, not names: words, stop tokens, media tokens, and a prompt with real pictures.

    Vocabularies padded to different sizes are fine. What the teacher has beyond the student's words is never shown to it.

    Args:
        student: whose ids the teacher will be shown, under the student's prompts.
        teacher: the other.
        name: of the teacher, for messages.

    Raises:
        ValueError: they differ; says in what.
    """
    problems = _vocabulary(student.tokenizer, teacher.tokenizer, name)
    for what, own, other in (
        ("stop tokens", *(sorted(one.template.get_stop_token_ids(one.tokenizer)) for one in (student, teacher))),
        ("media tokens", media_token_ids(student), media_token_ids(teacher)),
    ):
        if own != other:
            problems.append(f"{what}: the student's ids are {own}, the teacher's {other}.")
    plugins = [type(one.template.mm_plugin).__name__ for one in (student, teacher)]
    if plugins[0] != plugins[1]:
        problems.append(f"media: the student's template uses {plugins[0]}, the teacher's {plugins[1]}.")
    problems += [] if problems else _prompt(student, teacher)
    if problems:
        raise ValueError(
            f"teacher {name!r} does not read tokens as the student does, so it cannot be shown the student's completions:{listed(problems)}\n"
            "Take a teacher of the student's family with the same template and pixel limits, or use it for hints alone with "
            "`distill_weight: 0`."
        )


def _vocabulary(student: "PreTrainedTokenizer", teacher: "PreTrainedTokenizer", name: str) -> list[str]:
    own = {number: word for word, number in student.get_vocab().items()}  # added tokens included
    other = {number: word for word, number in teacher.get_vocab().items()}
    differing = sorted(number for number in own.keys() & other.keys() if own[number] != other[number])
    if differing:
        shown = [f"{number} is {own[number]!r} and {other[number]!r}" for number in differing]
        return [f"words: {len(differing)} ids stand for different ones ({first_of(shown, shown=SHOWN)})."]
    unknown = sorted(own.keys() - other.keys())
    if unknown:
        shown = first_of([repr(own[number]) for number in unknown], shown=SHOWN)
        logger.warning_rank0(
            f"teacher {name!r} has never seen {len(unknown)} tokens of the student ({shown}): where the student writes one of "
            "these, its distributions mean little."
        )
    return []


def _prompt(student: LoadedModel, teacher: LoadedModel) -> list[str]:
    with_pictures = student.template.mm_plugin.image_token is not None and student.processor is not None
    pictures = [Image.new("RGB", size, (200, 30, 30)) for size in PICTURES] if with_pictures else []
    request = Request([{"role": "user", "content": IMAGE_PLACEHOLDER * len(pictures) + SAMPLE}], images=pictures)
    # the student's template for both: the teacher will be shown the student's prompts
    under = LoadedModel(teacher.model, teacher.tokenizer, teacher.processor, student.template)
    own = encode(student, request).input_ids
    try:
        other = encode(under, request).input_ids
    except (
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # what the host's plugins raise without a fitting processor
        return [f"pictures: the teacher takes none ({error})."]
    if own == other:
        return []
    picture = student.tokenizer.convert_tokens_to_ids(student.template.mm_plugin.image_token or "")
    counts = [ids.count(picture) for ids in (own, other)]
    if counts[0] != counts[1]:
        return [
            f"pictures: {len(pictures)} of them are {counts[0]} tokens to the student, {counts[1]} to the teacher."
        ]
    place = next(
        (at for at, (one, two) in enumerate(zip(own, other, strict=False)) if one != two), min(map(len, (own, other)))
    )
    return [
        f"prompt: the same text becomes other tokens from place {place} on ({own[place : place + SHOWN]} and {other[place : place + SHOWN]})."
    ]
