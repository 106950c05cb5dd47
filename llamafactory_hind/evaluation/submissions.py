"""Predicted options in the form that the official scripts of NExT-QA and IntentQA read.

`{"<video>_<qid>": {"prediction": 4, "answer": 0}}`, both numbers of an option from 0: doc-doc/NExT-QA `eval_mc.py`,
doc-doc/NExT-GQA `eval_next.py`, JoseponLee/IntentQA `eval_intentqa.py`. The form that STAR's server takes is not in its repository.
"""

from collections.abc import Iterable

from .arguments import ScoreArguments
from .choices import correct_options
from .matching import Question
from .metrics import read_texts
from .metrics.choice_accuracy import chosen_option
from .predictions import final_answer
from .question_types import STAR_TYPES
from .refusal import ScoreError


NONE = -1  # equals no option; the official scripts stop at a question without an entry


def official_predictions(questions: Iterable[Question], arguments: ScoreArguments) -> dict[str, dict[str, int]]:
    """Return the key of each question -> the number of the predicted option, -1 where none could be read, and of the right one.

    Raises:
        ScoreError: a question has no `qid`, two have the same, or the benchmark has no such file.
    """
    found: dict[str, dict[str, int]] = {}
    wrong: list[str] = []
    for question in questions:
        key = question.fields.get("qid")
        if question.fields.get("type") in STAR_TYPES:
            wrong.append(f"{question.place}: a question of STAR; what its server takes is not in its repository")
        elif not isinstance(key, str) or not key:
            wrong.append(f"{question.place}, field `qid`: got {key!r:.80}, expected `<video>_<qid>`")
        elif key in found:
            wrong.append(f"{question.place}, field `qid`: got {key!r}, which an earlier question has already")
        else:
            found[key] = _entry(question, arguments)
    if wrong:
        remedy = "Score rows of `importers nextqa`, `nextgqa` or `intentqa`, or leave `submission` out."
        raise ScoreError("No official file of predictions can be written.", wrong, remedy)
    return found


def _entry(question: Question, arguments: ScoreArguments) -> dict[str, int]:
    choices = read_texts(question.fields, "choices")
    correct = correct_options(choices, question.fields["answer"])
    text = None if question.prediction is None else final_answer(question.prediction, arguments.answer_pattern)
    chosen = None if text is None else chosen_option(text, choices, arguments)
    # of two options with one text the official file names one: the right number, where that text was chosen
    right: int = chosen if chosen is not None and chosen in correct else min(correct)
    return {"prediction": NONE if chosen is None else chosen, "answer": right}
