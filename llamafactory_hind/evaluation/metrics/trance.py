"""`metric: trance`: transformations of TRANCE, as Reason-RFT's evaluation scores them (arXiv 2503.20752)."""

from collections.abc import Mapping
from typing import Any

from ...formats.texts.layout import answer_or_all
from ..arguments import ScoreArguments
from ..triples import PARTIAL, gold_triples, pair_triples, read_triples
from . import Scored


SUMMARY = "TRANCE: triples of the answer that agree with gold ones, in full or in part; repeated triples count once and cost nothing"
SOURCE = "tanhuajie/Reason-RFT eval/cal_score_benchmarks_for_open_source.py"
FIELDS = ("answer or solution",)
PARTS = ("exact",)


def dropped(fields: Mapping[str, Any]) -> str | None:
    """Return why a question does not count; here each does."""
    return None


def score(prediction: str, fields: Mapping[str, Any], arguments: ScoreArguments) -> Scored:
    """Score the triples in <answer> tags, else of the whole text, against those of `answer` or `solution`.

    The reward `trance` multiplies by the share of different triples among those written; the official evaluation does not. It
    pairs in the arbitrary order of a set, here in the order of the text, and it takes the whole text where an answer holds a
    newline. `exact`, beside it, is 1 where the triples are the gold ones, in any order [ours].

    Raises:
        ValueError: the gold answer is no text with triples.
    """
    field = "answer" if isinstance(fields.get("answer"), str) else "solution"
    gold_text = fields.get(field)
    if not isinstance(gold_text, str):
        raise ValueError(f"answer: got {fields.get('answer')!r:.160}, expected text.")
    try:
        gold = gold_triples(answer_or_all(gold_text))
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
    written = read_triples(answer_or_all(prediction))
    remark = None if written else "no triple could be read, scored 0"
    return Scored(pair_triples(written, gold, PARTIAL), remark, {"exact": float(set(written) == set(gold))})
