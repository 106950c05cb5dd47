"""Reads what a model wrote as hindsight: numbered or bulleted sections in any of their usual dresses, or JSON; English and Chinese."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


SECTIONS = {
    "cot": (
        *(
            "reasoning steps",
            "reasoning process",
            "reasoning chain",
            "reasoning",
            "chain of thought",
            "chain-of-thought",
        ),
        *("thought process", "thoughts", "cot", "step-by-step reasoning", "step by step", "steps"),
        *("推理过程", "推理步骤", "推理", "思维链", "思考过程", "思路", "步骤"),
    ),
    "knowledge": (
        *("knowledge facts", "background knowledge", "external knowledge", "required knowledge", "key facts"),
        *("relevant facts", "relevant knowledge", "knowledge", "facts"),
        *("背景知识", "相关知识", "所需知识", "知识点", "知识", "相关事实", "事实"),
    ),
    "conclusion": (*("final answer", "the answer", "conclusion", "answer", "最终答案", "答案", "结论"),),
}
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
FENCE = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)
DECORATION = r"[ \t#>*_`【\[]*"
ITEM = re.compile(
    r"^\s*(?:[-*•–·]\s+|\(?\d{1,2}[.)、:：]\s*|[（(]\d{1,2}[）)]\s*|(?:step|fact)\s+\d{1,2}\s*[.:)：-]\s*"
    r"|第[一二三四五六七八九十\d]+步[:：、,，]?\s*|步骤\s*[一二三四五六七八九十\d]+[:：、]?\s*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Hindsight:
    """What lies between a question and its answer.

    Attributes:
        cot: steps of reasoning, in order.
        knowledge: facts.
        conclusion: the answer they lead to; None where the text names none.
    """

    cot: list[str]
    knowledge: list[str]
    conclusion: str | None


def parse_hindsight(text: str) -> Hindsight:
    """Return the parts of a written hindsight; a part that is not there is empty."""
    text = THOUGHT.sub("", text).strip()
    found = _parse_json(text) or _parse_sections(text)
    conclusion = " ".join(found.get("conclusion", [])).strip() or None
    return Hindsight(found.get("cot", []), found.get("knowledge", []), conclusion)


def _parse_json(text: str) -> dict[str, list[str]] | None:
    """Return the parts of a JSON object, fenced or in the midst of a text; None where there is none."""
    fenced = FENCE.search(text)
    candidate = fenced[1] if fenced else text[text.find("{") : text.rfind("}") + 1]
    try:
        content = json.loads(candidate)
    except ValueError:
        return None
    if not isinstance(content, Mapping):
        return None
    names = {name.replace(" ", "_"): part for part, known in SECTIONS.items() for name in known}
    found = {}
    for key, value in content.items():
        part = names.get(str(key).strip().lower().replace(" ", "_"))
        if part:
            found[part] = [line for line in map(_as_text, value if isinstance(value, list) else [value]) if line]
    return found or None


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):  # {"step": 1, "text": "..."}
        value = next((item for item in value.values() if isinstance(item, str)), "")
    return ITEM.sub("", str(value if value is not None else "")).strip()


def _parse_sections(text: str) -> dict[str, list[str]]:
    """Split at headings; a section's lines are its items."""
    lines: dict[str, list[str]] = {}
    part = None
    for line in FENCE.sub(r"\1", text).replace("**", "").splitlines():
        heading = _heading(line)
        if heading:
            part, rest = heading
            lines.setdefault(part, [])
            line = rest
        if part and line.strip():
            lines[part].append(line)
    return {part: _items(found) for part, found in lines.items()}


def _heading(line: str) -> tuple[str, str] | None:
    """Return the section that a line opens, and what stands behind the heading; None for any other line."""
    for part, names in SECTIONS.items():
        for name in names:
            found = re.match(
                rf"{DECORATION}(?:\d[.)]\s*)?{re.escape(name)}[\s\]】*_`]*(?:[:：][\s*_`]*(.*)|$)", line, re.IGNORECASE
            )
            if found:
                return part, found[1] or ""
    return None


def _items(lines: list[str]) -> list[str]:
    """Return numbered or bulleted items, lines that continue one joined to it; without any mark a line is an item."""
    marked = any(ITEM.match(line) for line in lines)
    items: list[str] = []
    for line in lines:
        text = ITEM.sub("", line).strip()
        if marked and items and not ITEM.match(line):
            items[-1] = f"{items[-1]} {text}"
        elif text:
            items.append(text)
    return items
