"""The process behind `symbolic`: questions in, answers out, one JSON object a line, until the input ends."""

import json
import logging
import os
import signal
import sys


def main(seconds: float) -> None:
    """Answer `{"gold", "prediction"}` with `{"equal"}`; end the process where an answer takes more than `seconds` of the processor."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # what a library prints is no answer
    try:
        from math_verify import parse, verify
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    logging.disable(logging.CRITICAL)  # it warns of every limit that it does not set itself
    print(json.dumps({"ready": True}), file=answers, flush=True)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the system ends the process, in a computation in C, too
    for line in sys.stdin:
        question = json.loads(line)
        # Of the processor: by the clock, a busy machine would give up on what an idle one compares.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        gold = parse(question["gold"], parsing_timeout=None)
        prediction = parse(question["prediction"], parsing_timeout=None)
        equal = bool(verify(gold, prediction, timeout_seconds=None))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"equal": equal}), file=answers, flush=True)
