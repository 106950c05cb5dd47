"""Curves of runs from their `trainer_log.jsonl`: `reading` by offset, `shaping` for the eye, `drawing` as SVG. Pure Python."""
