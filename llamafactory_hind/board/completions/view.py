"""What a session has chosen, what it is shown, and the sentences of the page. No gradio."""

from dataclasses import dataclass, field

from .query import Query


VIEWS = ("groups", "list", "history", "prompts", "compare")
PER_PAGE = {"groups": 8, "list": 25, "history": 8, "prompts": 25, "compare": 25, "synth": 15}
NOTHING = (
    "Nothing here yet. Start a run in Train, or open a run of the command line below one of these folders: {roots}."
)
WRITES_NONE = "This run wrote no completions: stages that learn from given texts have none. Curves shows its numbers."
NO_MATCH = "No completion matches. Clear the filters."
NO_ROW = "Write the id of a row into Row, or click `history of the row` in a group."
NO_OTHER = "Choose a second run in Compare with."
NO_ROW_MATCHES = "No row matches. Clear the filters."
NO_COMMON = "No row is in both runs."
NOT_IN_BOTH = "The row is not in both runs."
NO_EXPORT = "Only completions are exported: the output of `synth` is a file of rows already."


@dataclass(frozen=True)
class View:
    """What a session has chosen.

    Attributes:
        run: name of an entry; empty is the latest.
        other: the run that is compared with it.
        view: one of `VIEWS`.
        query: the filters.
        page: from 1.
        boxes: draw them.
        state: of rows of `synth`: `all`, `kept`, `dropped`, `failed`.
        reason: of rows of `synth`; empty is all.
    """

    run: str = ""
    other: str = ""
    view: str = VIEWS[0]
    query: Query = field(default_factory=Query)
    page: int = 1
    boxes: bool = True
    state: str = "all"
    reason: str = ""


@dataclass(frozen=True)
class Look:
    """What a page shows.

    Attributes:
        html: of the page.
        status: one line.
        pages: how many there are.
        page: that is shown: one that is too high is the last.
        busy: more is being read; look again soon.
        full: the page cannot change by what is still being read.
        choices: name of a menu -> what it offers.
        kind: of the entry, see `roots.Entry`; empty where there is none.
    """

    html: str
    status: str
    pages: int = 1
    page: int = 1
    busy: bool = False
    full: bool = False
    choices: dict[str, list[str]] = field(default_factory=dict)
    kind: str = ""
