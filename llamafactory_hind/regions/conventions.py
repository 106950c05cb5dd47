"""How each model writes a box: order, grid, rounding, frame and text form. The table of `docs/regions.md`, as data."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from . import text_reading as reading
from . import text_writing as writing
from .text_reading import Numbers
from .text_writing import Writer


@dataclass(frozen=True)
class Axis:
    """One axis of what the model sees, in pixels of the original picture."""

    length: float  # of the frame: the picture, or the square that it is padded to
    offset: float  # where the picture begins in it
    fed: float  # pixels of the frame as fed; `length` where a convention does not care


Scale = Callable[[float, Axis], float]


@dataclass(frozen=True)
class Convention:
    """How one family of models writes a box.

    Attributes:
        frame: what coordinates refer to: the `original` picture, the square it is `padded` to (to
            the floor of half the difference on the left or top), or the picture as `processed`,
            that is as fed.
        numbers: `corners` x1 y1 x2 y2, `corners_y_first` y1 x1 y2 x2, `cells` (first and last cell
            of a grid) or a `point`.
        highest: the largest number of the grid; None for pixels as fed.
        write: pixels of the frame to the model's number, rounded and kept on the grid.
        read: the model's number to pixels of the frame.
        write_text: numbers and label to text.
        read_text: text to numbers.
        source: where this is published.
    """

    name: str
    write: Scale
    read: Scale
    highest: float | None
    write_text: Writer
    read_text: Callable[[str], list[Numbers]]
    source: str
    frame: Literal["original", "padded", "processed"] = "original"
    numbers: Literal["corners", "corners_y_first", "cells", "point"] = "corners"


def fractions(steps: float, rounding: Callable[[float], float], highest: float) -> Scale:
    """Return `rounding(value / length * steps)`, kept within 0..highest; in the order of operations of the converters."""
    return lambda value, axis: min(max(rounding(value / axis.length * steps), 0), highest)


def cut_fractions(steps: float, rounding: Callable[[float], float], highest: float) -> Scale:
    """Return the same with `value * steps` first: exact for whole pixels, where rounding down or up must not slip."""
    return lambda value, axis: min(max(rounding(value * steps / axis.length), 0), highest)


def shares(steps: float, shift: float = 0.0) -> Scale:
    """Return `(number + shift) / steps * length`."""
    return lambda number, axis: (number + shift) / steps * axis.length


def whole_pixels(steps: float) -> Scale:
    """Return `int(number / steps * length)`, as demos decode for drawing; a pixel is not lost to float noise."""
    return lambda number, axis: math.floor(number / steps * axis.length + 1e-9)


def decimals(count: int, steps: float = 1.0) -> Scale:
    """Return the share of the length times `steps`, rounded to decimals."""
    return fractions(steps, lambda value: round(value, count), steps)


def _to_fed(value: float, axis: Axis) -> float:
    return min(max(round(value * (axis.fed / axis.length)), 0), axis.fed - 1)


def _from_fed(number: float, axis: Axis) -> float:
    return number / axis.fed * axis.length


def _to_bin(value: float, axis: Axis) -> float:
    return min(max(math.floor(value / (axis.length / 1000)), 0), 999)


BRACKETS = reading.bracketed_boxes
# 0..1000, rounded half to even: Qwen2-VL's converter, InternVL's docs, GLM's page.
THOUSAND = fractions(1000, round, 1000)
CELLS = 32  # Kosmos-2's patches along each side

_TABLE = (
    Convention(
        "qwen_vl", cut_fractions(1000, math.floor, 999), shares(999), 999, writing.qwen_vl, BRACKETS,
        "QwenLM/Qwen-VL README and eval_mm/evaluate_grounding.py (decodes / 999); rounding [ours]: down, in [0, 1000)",
    ),
    Convention(
        "qwen2_vl", THOUSAND, shares(1000), 1000, writing.qwen2_vl, BRACKETS,
        "QwenLM/Qwen3-VL qwen-vl-finetune/tools/process_bbox.ipynb",
    ),
    Convention(
        "qwen2_5_vl", _to_fed, _from_fed, None, writing.qwen_json, BRACKETS,
        "QwenLM/Qwen3-VL qwen-vl-finetune/tools/process_bbox.ipynb; issues 676, 721", frame="processed",
    ),
    Convention(
        "qwen3_vl", THOUSAND, shares(1000), 1000, writing.qwen_json, BRACKETS,
        "QwenLM/Qwen3-VL evaluation/ODinW-13/run_odinw.py, cookbooks; issue 1486",
    ),
    Convention(
        "internvl", THOUSAND, shares(1000), 1000, writing.internvl, BRACKETS,
        "OpenGVLab/InternVL issues 227, 1009, 1016; eval/refcoco/evaluate_grounding.py (V1.5's data cut, not rounded)",
    ),
    Convention(
        "llava", decimals(2), shares(1), 1, writing.llava, BRACKETS,
        "haotian-liu/LLaVA issues 606, 623, 822", frame="padded",
    ),
    Convention(
        "shikra", decimals(3), shares(1), 1, writing.shikra, BRACKETS,
        "shikras/shikra utils/transform.py, box_process_function.py", frame="padded",
    ),
    Convention(
        "paligemma", fractions(1023, round, 1023), shares(1023), 1023, writing.paligemma, reading.location_boxes,
        "google-research/big_vision pp/proj/paligemma/segmentation.py", numbers="corners_y_first",
    ),
    Convention(
        "kosmos2", fractions(CELLS, math.floor, CELLS - 1), shares(CELLS), CELLS**2 - 1, writing.kosmos2,
        reading.patch_boxes, "transformers kosmos2", numbers="cells",
    ),
    Convention(
        "cogvlm", fractions(1000, round, 999), shares(1000), 999, writing.cogvlm, BRACKETS,
        "THUDM/CogVLM README, grounding_parser.py (decodes / 1000); rounding [ours]: to the nearest",
    ),
    Convention(
        "deepseek_vl2", cut_fractions(999, math.ceil, 999), whole_pixels(999), 999, writing.deepseek_vl2, BRACKETS,
        "DeepSeek-VL2 serve/app_modules/utils.py (decodes int(v / 999 * size)); "
        "rounding [ours]: up, so that cutting loses no pixel",
    ),
    Convention(
        "glm4v", THOUSAND, shares(1000), 1000, writing.glm4v, BRACKETS,
        "zai-org/GLM-V README (any bracket style), skill page (rounding)",
    ),
    Convention(
        "minicpm_v", THOUSAND, shares(1000), 1000, writing.minicpm_v, BRACKETS,
        "OpenBMB/MiniCPM-V issues 185, 772, 982; rounding [ours]: to the nearest",
    ),
    Convention(
        "florence2", _to_bin, shares(1000, 0.5), 999, writing.florence2, reading.location_boxes,
        "transformers florence2 (which then cuts to whole pixels)",
    ),
    Convention(
        "ferret", cut_fractions(1000, math.floor, 1000), whole_pixels(1000), 1000, writing.ferret, BRACKETS,
        "apple/ml-ferret ferret/eval",
    ),
    Convention(
        "molmo", decimals(1, 100), shares(100), 100, writing.molmo, reading.tagged_points,
        "allenai/molmo data_formatter.py, util.py; the point of a box [ours]: its centre", numbers="point",
    ),
)  # fmt: skip

CONVENTIONS: Mapping[str, Convention] = {convention.name: convention for convention in _TABLE}


def get_convention(name: str) -> Convention:
    """Return a convention by name.

    Raises:
        ValueError: there is none of this name; names the nearest and all.
    """
    if isinstance(name, str) and name in CONVENTIONS:
        return CONVENTIONS[name]
    near = get_close_matches(str(name), list(CONVENTIONS), n=1, cutoff=0.5)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    raise ValueError(f"`convention`: got {name!r}, which is unknown.{hint} Known: {', '.join(CONVENTIONS)}.")
