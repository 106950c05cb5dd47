"""Predictions meet their references: by id, or by order with a check of every prompt."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.problem import ConfigError, Problem
from ..formats.media.fields import PLACEHOLDERS
from .arguments import ScoreArguments
from .metrics import get_metric, predicted_fields
from .predictions import Prediction, read_predictions
from .references import Reference, read_references
from .refusal import ScoreError


@dataclass(frozen=True)
class Question:
    """One question with what was predicted for it.

    Attributes:
        id: of the row.
        place: where its references are, for errors.
        fields: the row under our names.
        prediction: the whole text that was predicted; None where there is none.
        predicted: the whole row of the prediction; None where there is none.
    """

    id: str
    place: str
    fields: Mapping[str, Any]
    prediction: str | None
    predicted: Mapping[str, Any] | None = None


def collect_questions(arguments: ScoreArguments) -> tuple[list[Question], int]:
    """Read predictions and references and bring them together.

    Returns:
        The questions, and how many predictions belong to none of them.

    Raises:
        ConfigError: a file or dataset is missing or unreadable.
        ScoreError: the rows do not fit together.
    """
    needed = [predicted_fields(get_metric(name)) for name in arguments.metrics]
    predictions = read_predictions(
        Path(arguments.predictions),
        arguments.prediction_field,
        text=not all(needed),
        fields=[field for fields in needed for field in fields],
    )
    with_id = sum(prediction.id is not None for prediction in predictions)
    if arguments.dataset is None:
        if not with_id and not any("question" in row.fields for row in predictions):
            expected = "the dataset that was predicted: its rows have the references"
            remedy = f"The rows of {arguments.predictions} have neither `id` nor references."
            raise ConfigError([Problem("dataset", None, expected, remedy)])
        questions = [Question(row.id or row.place, row.place, row.fields, row.text, row.fields) for row in predictions]
        _refuse_twins((question.id, question.place) for question in questions)
        return questions, 0
    references = read_references(
        arguments.datasets, dataset_dir=arguments.dataset_dir, max_samples=arguments.max_samples
    )
    if 0 < with_id < len(predictions):
        lines = [f"{row.place}, field `id`: got nothing" for row in predictions if row.id is None]
        raise ScoreError("Some predictions have an id and some have none.", lines, "Give all of them an id, or none.")
    if with_id:
        return match_by_id(predictions, references)
    _refuse_targets(references, arguments.answer_pattern)
    return match_by_order(predictions, references), 0


def match_by_id(predictions: Sequence[Prediction], references: Sequence[Reference]) -> tuple[list[Question], int]:
    """Return every reference with the prediction of the same id, and the number of predictions that are left over.

    Raises:
        ScoreError: an id occurs twice on one side, or no id occurs on both.
    """
    _refuse_twins((str(row.id), row.place) for row in predictions)
    _refuse_twins((row.id, row.place) for row in references)
    given = {row.id: row for row in predictions}
    known = {row.id for row in references}
    unused = len(given.keys() - known)
    if unused == len(given):
        lines = [
            f"{predictions[0].place}: id {predictions[0].id!r}",
            f"{references[0].place}: id {references[0].id!r}",
        ]
        raise ScoreError(
            "No prediction has the id of a row of the dataset.", lines, "Give the dataset that was predicted."
        )
    return [_question(row, given.get(row.id)) for row in references], unused


def match_by_order(predictions: Sequence[Prediction], references: Sequence[Reference]) -> list[Question]:
    """Return every reference with the prediction in the same row.

    Raises:
        ScoreError: their numbers differ, or a prompt or a label is not that of its row.
    """
    remedy = (
        "Rows are matched by order: give the datasets in the order of the run, its `max_samples`, and predict without "
        "shuffling, `val_size` or skipped rows, and with a `cutoff_len` that does not cut the question."
    )
    if len(predictions) != len(references):
        lines = [f"{len(predictions)} predictions, {len(references)} rows in the dataset"]
        raise ScoreError("The numbers of rows differ.", lines, remedy)
    for prediction, reference in zip(predictions, references, strict=True):
        if trouble := _stranger(prediction, reference):
            raise ScoreError("A prediction does not belong to its row.", [trouble], remedy)
    return [_question(reference, prediction) for prediction, reference in zip(predictions, references, strict=True)]


def _question(row: Reference, prediction: Prediction | None) -> Question:
    if prediction is None:
        return Question(row.id, row.place, row.fields, None)
    return Question(row.id, row.place, row.fields, prediction.text, prediction.fields)


def _refuse_targets(references: Sequence[Reference], pattern: str | None) -> None:
    """Stop at rows whose predictions in the host's file are several, or no answers."""
    several = [f"{row.place}: target multitask" for row in references if row.options.target == "multitask"]
    if several:
        remedy = "Predict a dataset of one target."
        raise ScoreError("A row of target `multitask` has several predictions.", several[:1], remedy)
    other = [f"{row.place}: target {row.options.target}" for row in references if row.options.target != "answer"]
    if other and pattern is None:
        remedy = "Predict a dataset of target `answer`, or cut the answer out with `answer_pattern`."
        raise ScoreError("The predictions are reasoning or knowledge, not answers.", other[:1], remedy)


def _stranger(prediction: Prediction, reference: Reference) -> str | None:
    """Return why a prediction is not that of a row, None if nothing speaks against it."""
    prompt, label = prediction.fields.get("prompt"), prediction.fields.get("label")
    if not isinstance(prompt, str):
        return f"{prediction.place}, field `prompt`: got {prompt!r}, expected text"
    pieces = [reference.fields["question"]]
    for placeholder in PLACEHOLDERS.values():
        pieces = [part for piece in pieces for part in piece.split(placeholder)]
    if any(_squeezed(piece) not in _squeezed(prompt) for piece in pieces):
        return f"{prediction.place}, field `prompt`: it does not contain the question {reference.fields['question']!r} of {reference.place}"
    response = reference.response()
    # Questions repeat; the label tells rows of one question apart. A label may be cut, or stand behind a template's own words.
    if isinstance(label, str) and label.strip() and response is not None:
        label, response = _squeezed(label), _squeezed(response)
        if response not in label and label not in response:
            return f"{prediction.place}, field `label`: got {prediction.fields['label']!r}, which is not that of {reference.place}"
    return None


def _squeezed(text: str) -> str:
    """Return the text without what tokenizers may change on the way back: spaces and Unicode forms."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _refuse_twins(rows: Iterable[tuple[str, str]]) -> None:
    first: dict[str, str] = {}
    twins = []
    for row_id, place in rows:
        if row_id in first:
            twins.append(f"{place}, field `id`: got {row_id!r}, which {first[row_id]} has already")
        first.setdefault(row_id, place)
    if twins:
        raise ScoreError("An id occurs more than once.", twins, "Remove the repeated rows.")
