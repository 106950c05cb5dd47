"""One box in the text form of a model: the model's numbers and a label in, text out. Labels are written where a form has one."""

import json
from collections.abc import Callable, Sequence


Writer = Callable[[Sequence[float], str | None], str]


def listed(numbers: Sequence[float], between: str = ", ") -> str:
    """Return whole numbers in a row."""
    return between.join(str(int(number)) for number in numbers)


def corners(numbers: Sequence[float]) -> str:
    """Return `(x1,y1),(x2,y2)`."""
    left, top, right, bottom = map(int, numbers)
    return f"({left},{top}),({right},{bottom})"


def tagged(name: str | None, box: str, opening: str = "<ref>", closing: str = "</ref>") -> str:
    """Return a box after its label between two tags; the box alone without a label."""
    return f"{opening}{name}{closing}{box}" if name else box


def qwen_vl(numbers: Sequence[float], label: str | None) -> str:
    """Write `<ref>x</ref><box>(x1,y1),(x2,y2)</box>`."""
    return tagged(label, f"<box>{corners(numbers)}</box>")


def qwen2_vl(numbers: Sequence[float], label: str | None) -> str:
    """Write `<|object_ref_start|>x<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>`."""
    box = f"<|box_start|>{corners(numbers)}<|box_end|>"
    return tagged(label, box, "<|object_ref_start|>", "<|object_ref_end|>")


def qwen_json(numbers: Sequence[float], label: str | None) -> str:
    """Write `{"bbox_2d": [x1, y1, x2, y2], "label": "x"}`."""
    entry: dict[str, object] = {"bbox_2d": [int(number) for number in numbers]}
    return json.dumps(entry | ({"label": label} if label else {}), ensure_ascii=False)


def internvl(numbers: Sequence[float], label: str | None) -> str:
    """Write `<ref>x</ref><box>[[x1, y1, x2, y2]]</box>`."""
    return tagged(label, f"<box>[[{listed(numbers)}]]</box>")


def llava(numbers: Sequence[float], label: str | None) -> str:
    """Write `[x1, y1, x2, y2]` with two decimals; the form has no label."""
    return f"[{', '.join(f'{number:.2f}' for number in numbers)}]"


def shikra(numbers: Sequence[float], label: str | None) -> str:
    """Write `[x1,y1,x2,y2]` with three decimals and no blanks; the form has no label."""
    return f"[{','.join(f'{number:.3f}' for number in numbers)}]"


def paligemma(numbers: Sequence[float], label: str | None) -> str:
    """Write `<loc0001><loc0002><loc0003><loc0004> x`."""
    tokens = "".join(f"<loc{int(number):04d}>" for number in numbers)
    return f"{tokens} {label}" if label else tokens


def florence2(numbers: Sequence[float], label: str | None) -> str:
    """Write `x<loc_1><loc_2><loc_3><loc_4>`."""
    return (label or "") + "".join(f"<loc_{int(number)}>" for number in numbers)


def kosmos2(numbers: Sequence[float], label: str | None) -> str:
    """Write `<phrase> x</phrase><object><patch_index_0001><patch_index_0002></object>`."""
    tokens = "".join(f"<patch_index_{int(number):04d}>" for number in numbers)
    return tagged(label and f" {label}", f"<object>{tokens}</object>", "<phrase>", "</phrase>")


def cogvlm(numbers: Sequence[float], label: str | None) -> str:
    """Write `[[001,002,003,004]]`; the form has no label."""
    return f"[[{','.join(f'{int(number):03d}' for number in numbers)}]]"


def deepseek_vl2(numbers: Sequence[float], label: str | None) -> str:
    """Write `<|ref|>x<|/ref|><|det|>[[x1, y1, x2, y2]]<|/det|>`."""
    return tagged(label, f"<|det|>[[{listed(numbers)}]]<|/det|>", "<|ref|>", "<|/ref|>")


def glm4v(numbers: Sequence[float], label: str | None) -> str:
    """Write `<|begin_of_box|>[[x1, y1, x2, y2]]<|end_of_box|>`; the form has no label."""
    return f"<|begin_of_box|>[[{listed(numbers)}]]<|end_of_box|>"


def minicpm_v(numbers: Sequence[float], label: str | None) -> str:
    """Write `<ref>x</ref><box>x1 y1 x2 y2</box>`."""
    return tagged(label, f"<box>{listed(numbers, ' ')}</box>")


def ferret(numbers: Sequence[float], label: str | None) -> str:
    """Write `x [x1, y1, x2, y2] <region_fea>`."""
    box = f"[{listed(numbers)}] <region_fea>"
    return f"{label} {box}" if label else box


def molmo(numbers: Sequence[float], label: str | None) -> str:
    """Write `<point x="10.5" y="20.0" alt="x">x</point>`; quotes of the label become single ones in `alt` [ours]."""
    across, down = numbers
    name = label or ""
    return f'<point x="{across:.1f}" y="{down:.1f}" alt="{name.replace(chr(34), chr(39))}">{name}</point>'
