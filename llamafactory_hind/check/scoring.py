"""A `score` configuration: predictions and references are read and matched; no number is computed or written."""

from ..evaluation.arguments import build_arguments
from ..evaluation.matching import collect_questions
from ..evaluation.refusal import ScoreError
from .arguments import Request
from .findings import Report
from .surroundings import check_disk


def check_scoring(request: Request, report: Report) -> None:
    """Match predictions with their questions."""
    arguments = build_arguments(request.settings)
    check_disk(str(arguments.summary_file.parent), None, report)
    try:
        questions, unused = collect_questions(arguments)
    except ScoreError as error:
        report.add("error", "rows", arguments.predictions, str(error))
        return
    missing = sum(question.prediction is None and not question.predicted for question in questions)
    report.add(
        "note", "rows", arguments.predictions, f"{len(questions)} questions, {unused} predictions of no question."
    )
    if missing:
        level = "error" if arguments.missing == "error" else "warning"
        report.add(level, "rows", arguments.predictions, f"{missing} questions have no prediction (`missing`).")
