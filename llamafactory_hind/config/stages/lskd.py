"""Keys of `stage: lskd`, the discriminative student of LSKD (arXiv 2312.04837)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..keys.share_prefix import SharePrefixArguments
from ..limits import out_of_range
from ..problem import Problem


LABEL = "Discriminative student (LSKD): ITC + ITM + LM"
ROWS = "matching"
TAKES = (SharePrefixArguments,)


@dataclass
class Arguments:
    """Discriminative student, L = itc_weight L_ITC + itm_weight L_ITM + lm_weight L_LM."""

    itc_weight: float = field(
        default=1.0, metadata={"help": "lskd: weight of the contrast of pictures and texts, 0 or more [C code]."}
    )
    itm_weight: float = field(
        default=1.0, metadata={"help": "lskd: weight of judging pairs of picture and text, 0 or more [C code]."}
    )
    lm_weight: float = field(
        default=1.0, metadata={"help": "lskd: weight of the host's `sft` loss on the answer, 0 or more [C code]."}
    )
    itc_temperature: float = field(
        default=0.07,
        metadata={"help": "lskd: temperature of the contrast at the start, 0.001 to 0.5; it is learnt [C code]."},
    )
    label_smoothing: float = field(
        default=0.1, metadata={"help": "lskd: smoothing of the labels of the contrast, 0 to below 1 [C code]."}
    )


LOWEST = {"itc_weight": (0, True), "itm_weight": (0, True), "lm_weight": (0, True), "label_smoothing": (0, True)}
SHORTEST, LONGEST = 0.001, 0.5  # temperatures, as salesforce/BLIP clamps them


def problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what cannot work together in the settings of an lskd run."""
    yield from out_of_range(settings, LOWEST)
    weights = [name for name in LOWEST if name.endswith("_weight")]
    for name in weights:
        if not math.isfinite(settings[name]):
            yield Problem(name, settings[name], "a finite number", "The default is 1.0.")
    if not any(settings[name] for name in weights):
        yield Problem("lm_weight", 0, "a weight above 0", "Nothing would be learnt: set one of the three weights.")
    if settings["label_smoothing"] >= 1:
        yield Problem("label_smoothing", settings["label_smoothing"], "a number below 1", "The default is 0.1.")
    if not SHORTEST <= settings["itc_temperature"] <= LONGEST:
        expected = f"a number from {SHORTEST} to {LONGEST}"
        yield Problem("itc_temperature", settings["itc_temperature"], expected, "The default is 0.07.")
