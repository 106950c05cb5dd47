"""What a `dataset_info.json` entry says about a `region` dataset: what is learnt, and how its regions are shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..media.fields import MEDIA_FIELDS
from ..options import RowOptions, misspelt_keys, refuse_entry, wrong_columns, wrong_flags


TARGETS = ("answer", "rationale", "answer_rationale")
STYLES = ("coordinates", "marks", "both", "crop", "name")
MARKS = ("boxes", "numbers", "polygons")
DRAWN = ("marks", "both", "crop")  # styles that change or add pictures
FIELDS = (
    *("id", "question", "answer", "rationale", "choices", "messages", "regions", *MEDIA_FIELDS, "system", "tools"),
    *("chosen", "rejected", "external", "hint", "critic"),
)
OUR_KEYS = (
    *("target", "ranking", "columns", "skip_bad_rows"),
    *("region_style", "region_marks", "region_shuffle", "region_seed", "prefix_cut", "rationale_share"),
)
_WORDS = {  # key -> what it may be, the first by default
    "target": TARGETS,
    "region_style": STYLES,
    "region_marks": MARKS,
}


@dataclass(frozen=True, kw_only=True)
class RegionOptions(RowOptions):
    """The options of one dataset.

    Attributes:
        target: what the assistant turn is: `answer`, `rationale` (with the answer in the prompt), `answer_rationale`.
        ranking: rows are preference pairs with `chosen` and `rejected`.
        region_style: how a mention is written and its region shown: `coordinates`, `marks` (drawn, `[0]` in text),
            `both`, `crop` (a picture each), `name` (its label).
        region_marks: what is drawn: LSKD's colored `boxes`, `numbers` (Set-of-Mark), LSKD's colors on `polygons`.
        region_shuffle: LSKD's augmentation in training: half of the rows get the regions they mention in another
            order, the others all their regions.
        region_seed: of `region_shuffle`, `prefix_cut` and `rationale_share`.
        prefix_cut: LSKD's generative student in training: the prompt is the first words of question, answer and rationale, the
            assistant turn the others.
        rationale_share: with `target: answer_rationale`, in training: the share of rows that keep their rationale, 0 to 1; the others
            learn the answer alone. 0.5 in LSKD.
    """

    ranking: bool = False
    region_style: str = "coordinates"
    region_marks: str = "boxes"
    region_shuffle: bool = False
    region_seed: int = 0
    prefix_cut: bool = False
    rationale_share: float = 1.0


def read_options(info: Mapping[str, Any], *, name: str) -> RegionOptions:
    """Return the options of a `dataset_info.json` entry.

    Args:
        info: the entry; keys that are the host's are left to the host.
        name: the dataset, for the error.

    Raises:
        ValueError: names every wrong key with its value, what is expected and what to do.
    """
    flags = ("ranking", "skip_bad_rows", "region_shuffle", "prefix_cut")
    problems = [*misspelt_keys(info, OUR_KEYS), *wrong_flags(info, *flags)]
    for key, words in _WORDS.items():
        if info.get(key, words[0]) not in words:
            problems.append(f"{key}: got {info[key]!r}, expected one of {', '.join(words)}")
    if info.get("ranking") is True and "target" in info:
        problems.append("target: got a target with ranking, expected none: `chosen` and `rejected` are the answers")
    if info.get("prefix_cut") is True and (info.get("ranking") is True or info.get("target") == "rationale"):
        problems.append(
            "prefix_cut: got true, expected it with `target: answer` or `answer_rationale`, without ranking"
        )
    seed = info.get("region_seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        problems.append(f"region_seed: got {seed!r}, expected a whole number")
    share = info.get("rationale_share", 1.0)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
        problems.append(f"rationale_share: got {share!r}, expected a number from 0 to 1")
    elif share != 1 and info.get("target") != "answer_rationale":
        problems.append(f"rationale_share: got {share!r}, expected it with `target: answer_rationale`")
    columns = info.get("columns", {})
    problems += wrong_columns(columns, FIELDS, {"prompt": "question", "response": "answer"})
    refuse_entry(problems, name=name, formatting="region")
    return RegionOptions(
        **{"region_seed": seed, "ranking": info.get("ranking", False)},
        **{key: info.get(key, words[0]) for key, words in _WORDS.items()},
        region_shuffle=info.get("region_shuffle", False),
        prefix_cut=info.get("prefix_cut", False),
        rationale_share=share,
        skip_bad_rows=info.get("skip_bad_rows", False),
        columns=tuple(columns.items()),
    )
