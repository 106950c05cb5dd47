"""How the Board tells that a run failed: the reason first and wrapped, then what the process wrote to its error stream."""

import re

from .train import as_markdown


FAILED = re.compile(r"(?P<head>.*Exit code: -?\d+)\n\n```\n(?P<stream>.*)\n```\n", re.DOTALL)  # of the host
OURS = re.compile(r"^llamafactory-cli \w+: ", re.MULTILINE)  # what our messages begin with
LONGEST = 20_000  # letters of the stream that are shown, its end; as many as the host shows of a log


def reason_first(text: str) -> str:
    """Return the host's text about a failed run with the reason before the stream; any other text as it is."""
    found = FAILED.fullmatch(text)
    if found is None:
        return text
    stream = found["stream"].replace("```", "'''")[-LONGEST:]
    reason = as_markdown(ValueError(reason_of(found["stream"])))
    return f"**{found['head'].strip()}**\n\n{reason}\n\n```\n{stream}\n```\n"


def reason_of(stream: str) -> str:
    """Return why a process ended: a message of ours to its end, else the last line of a traceback, else the last line."""
    ours = list(OURS.finditer(stream))
    if ours:
        return "\n".join(line for line in stream[ours[-1].end() :].splitlines() if line.strip())
    lines = [line.strip() for line in stream.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return (errors or lines or ["It wrote nothing to its error stream."])[-1]
