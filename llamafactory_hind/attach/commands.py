"""Our commands of `llamafactory-cli`."""

from typing import NamedTuple


class Command(NamedTuple):
    """One command; modules are imported when they are needed."""

    run: str  # "module:function": takes the words after the command
    prepare: str  # the same before the host is imported: returns help to print, or None, or raises a ConfigError
    summary: str  # one line of help
    takes: str = "X.yaml"  # what follows its name


COMMANDS: dict[str, Command] = {
    "synth": Command(
        "llamafactory_hind.pipelines.runner.run:run_synth",
        "llamafactory_hind.pipelines.runner.command:prepare",
        "write rows with a model",
    ),
    "score": Command(
        "llamafactory_hind.evaluation.score:run_score",
        "llamafactory_hind.evaluation.arguments:prepare",
        "metrics over predictions",
    ),
    "check": Command(
        "llamafactory_hind.check.command:run_check",
        "llamafactory_hind.check.command:prepare",
        "what is wrong, before a run",
    ),
    "browse": Command(
        "llamafactory_hind.board.completions.command:run_browse",
        "llamafactory_hind.board.completions.command:prepare",
        "look at what models wrote",
        "DIR",
    ),
}
