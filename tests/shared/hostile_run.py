"""A run, and an output of `synth`, with a payload in every place that a page reads."""

import json
from pathlib import Path
from typing import Any

from shared.completion_runs import describe, entry, write_step


PAYLOAD = '<img src=x onerror="window.PWNED=1" data-pwned>\'"></td></textarea><script>window.PWNED=2</script>'


def hostile_run(run: Path) -> None:
    """Write it: texts, ids, names of rewards and media, keys of JSON columns, labels of boxes, hints, the record."""
    boxes = [{"image": 0, "box": [1, 1, 2, 2], "label": PAYLOAD, "origin": PAYLOAD}]
    inner: dict[str, Any] = {
        PAYLOAD: PAYLOAD,
        "answer": PAYLOAD,
        "prompt": PAYLOAD,
        "objects": [{"box": [0, 0, 1, 1], "label": PAYLOAD}],
    }
    more = {
        "row_id": PAYLOAD,
        "source": PAYLOAD,
        "completion": PAYLOAD,
        "prompt": PAYLOAD,
        "finish_reason": PAYLOAD,
        f"reward/{PAYLOAD}": 1.0,
        "extra": json.dumps({"hint": PAYLOAD, PAYLOAD: PAYLOAD}),
        "media": json.dumps(
            {"images": [PAYLOAD, f"/{PAYLOAD}/x.png"], "videos": [PAYLOAD, [PAYLOAD]], PAYLOAD: [PAYLOAD]}
        ),
        "columns": json.dumps(inner),
        "conversation": json.dumps({"turns": [{"role": PAYLOAD, "content": PAYLOAD}]}),
        "boxes": json.dumps(boxes),
        "hints": json.dumps([{"attempt": PAYLOAD, "hint": PAYLOAD, "fate": PAYLOAD, PAYLOAD: PAYLOAD}]),
    }
    for step in (1, 2):
        write_step(run, step, [entry(step, 0, sample, **more, reward=float(sample)) for sample in range(2)])
        write_step(run, step, [entry(step, 0, 0, **more, split=PAYLOAD, process=1)], process=1)
    (run / "completions" / "00000003-00000.parquet").write_bytes(PAYLOAD.encode())
    describe(run, run, stage=PAYLOAD, gate=PAYLOAD)


def hostile_synth(folder: Path) -> None:
    """Write rows, dropped texts, failures and a report."""
    folder.mkdir(parents=True)
    rows = [
        {
            "id": PAYLOAD,
            "question": PAYLOAD,
            "cot": [PAYLOAD],
            "images": [PAYLOAD],
            PAYLOAD: PAYLOAD,
            "regions": [{"box": [0, 0, 1, 1], "label": PAYLOAD}],
        }
    ]
    dropped = [
        {"id": PAYLOAD, "reason": PAYLOAD, "attempts": [PAYLOAD], "samples": [{"text": PAYLOAD, "reason": PAYLOAD}]}
    ]
    failed = [{"id": PAYLOAD, "reason": PAYLOAD, "fields": {PAYLOAD: PAYLOAD, "question": PAYLOAD}}]
    for name, content in {"out.jsonl": rows, "out.dropped.jsonl": dropped, "out.failures.jsonl": failed}.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    quadrants = {"threshold": 0.0, "counts": {PAYLOAD: PAYLOAD}, "shares": {PAYLOAD: 1}}
    (folder / "out.report.json").write_text(json.dumps({PAYLOAD: PAYLOAD, "quadrants": quadrants}))
    facts = {"text": PAYLOAD, "confidence": 0.5, "helpful": True, PAYLOAD: PAYLOAD}
    sample = {"id": PAYLOAD, "question": PAYLOAD, "greedy": facts, "samples": [facts]}
    (folder / "facts.jsonl").write_text(json.dumps({"id": PAYLOAD, "chosen": PAYLOAD}) + "\n")
    (folder / "facts.samples.jsonl").write_text(json.dumps(sample) + "\n")
    (folder / "facts.quadrants.json").write_text(json.dumps({"quadrants": quadrants}))
