"""The fields of the page: their words, and what a session has chosen in them. No gradio."""

from collections.abc import Callable, Mapping
from typing import Any

from ..speech import both, tr
from .query import ALL, GATES, HINTS, ORDERS, SHOWS, Query
from .synthesis import STATES
from .view import VIEWS, View


TOTAL = "total"
RUN_FIELDS = (
    "step",
    "split",
    "source",
    "show",
    "gate",
    "hint",
    "finish",
    "reward",
    "lowest",
    "highest",
    "row",
    "order",
)
PREFIX = "hind_completions_"
LABELS: dict[str, dict[str, tuple[Any, Any]]] = {
    "run": {"label": ("Run", "运行")},
    "other": {"label": ("Compare with", "对比")},
    "refresh": {"value": ("Refresh", "刷新")},
    "view": {"label": ("View", "视图"), "choices": both(VIEWS)},
    "step": {"label": ("Step", "步")},
    "split": {"label": ("Split", "划分")},
    "source": {"label": ("Source", "来源")},
    "show": {"label": ("Learnt from", "是否训练"), "choices": both(SHOWS)},
    "gate": {"label": ("Gate", "门控"), "choices": both(GATES)},
    "hint": {"label": ("Hint", "提示"), "choices": both(HINTS)},
    "finish": {"label": ("Ended by", "结束原因")},
    "reward": {"label": ("Reward", "奖励")},
    "lowest": {"label": ("At least", "下限")},
    "highest": {"label": ("At most", "上限")},
    "row": {"label": ("Row", "样本"), "placeholder": ("its id, then Enter", "输入编号后回车")},
    "text": {
        "label": ("Text", "文本"),
        "placeholder": ("a part of a completion or prompt, then Enter", "回答或题目中的文字，回车搜索"),
    },
    "order": {"label": ("Order", "排序"), "choices": both(ORDERS)},
    "state": {"label": ("State", "状态"), "choices": both((ALL, *STATES))},
    "reason": {"label": ("Reason", "原因")},
    "boxes": {"label": ("Boxes", "方框")},
    "clear": {"value": ("Clear filters", "清除筛选")},
    "back": {"value": ("◂ Back", "◂ 上一页")},
    "next": {"value": ("Next ▸", "下一页 ▸")},
    "page": {"label": ("Page", "页")},
    "stop": {"value": ("Stop search", "停止搜索")},
    "export_part": {"label": ("Export what is picked", "导出所选")},
    "kind": {"label": ("As", "格式")},
    "name": {"label": ("Name of the file", "文件名")},
    "export": {"value": ("Export", "导出")},
}
FIELDS = (
    *("language", "run", "other", "view", *RUN_FIELDS, "text", "state", "reason", "boxes", "page"),
)  # what makes up a `View`, in this order


def labels() -> dict[str, dict[str, tuple[Any, Any]]]:
    """Return element -> its words, as `board.tabs` has them."""
    return {PREFIX + name: words for name, words in LABELS.items()}


def words(name: str, language: str = "en") -> dict[str, Any]:
    """Return the words of an element as arguments."""
    return {attribute: two[language == "zh"] for attribute, two in LABELS[name].items()}


def view_of(values: Mapping[str, Any]) -> tuple[View, str]:
    """Return what a session has chosen, and one line about a field that cannot be read; it then counts as empty."""
    wrong: list[str] = []

    def read(name: str, kind: Callable[[str], Any]) -> Any:
        text = str(values.get(name) or "").strip()
        try:
            return kind(text) if text else None
        except ValueError:
            label = words(name, str(values.get("language")))["label"]
            wrong.append(
                tr("{label}: got {text}, expected a number; it is left out.", label=label, text=repr(text)[:40])
            )
            return None

    def chosen(name: str) -> str:
        return str(values.get(name) or ALL)

    reward = chosen("reward")
    query = Query(
        split=chosen("split"),
        step=read("step", int),
        source=chosen("source"),
        show=chosen("show"),
        gate=chosen("gate"),
        hint=chosen("hint"),
        finish=chosen("finish"),
        reward="" if reward in (TOTAL, ALL) else reward,
        lowest=read("lowest", float),
        highest=read("highest", float),
        row=str(values.get("row") or "").strip(),
        text=str(values.get("text") or ""),
        order=values.get("order") if values.get("order") in ORDERS else ORDERS[0],
    )
    reason = chosen("reason")
    return (
        View(
            run=str(values.get("run") or ""),
            other=str(values.get("other") or ""),
            view=str(values.get("view") or VIEWS[0]),
            query=query,
            page=int(read("page", float) or 1),
            boxes=bool(values.get("boxes", True)),
            state=chosen("state"),
            reason="" if reason == ALL else reason,
        ),
        " ".join(wrong),
    )
