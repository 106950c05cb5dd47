"""The process behind `symbolic`: questions in, answers out, one JSON object a line, until the input ends."""

import faulthandler
import json
import logging
import os
import sys


def main(seconds: float) -> None:
    """Answer `{"gold", "prediction"}` with `{"equal"}`; end the process where an answer takes longer than `seconds`."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # what a library prints is no answer
    try:
        from math_verify import parse, verify
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    logging.disable(logging.CRITICAL)  # it warns of every limit that it does not set itself
    print(json.dumps({"ready": True}), file=answers, flush=True)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for line in sys.stdin:
            question = json.loads(line)
            # Its thread needs no interpreter lock, so that it ends computations in C, too.
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
            gold = parse(question["gold"], parsing_timeout=None)
            prediction = parse(question["prediction"], parsing_timeout=None)
            equal = bool(verify(gold, prediction, timeout_seconds=None))
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps({"equal": equal}), file=answers, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
