"""What tests of pipelines with a server share: a folder with rows, the words of a run, and files read back."""

import json
from pathlib import Path
from typing import Any


def write_dataset(folder: Path, rows: list[Any], name: str = "d") -> Path:
    """Write rows and register them; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    file = folder / "dataset_info.json"
    info = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(info | {name: {"file_name": f"{name}.json", "formatting": "hindsight"}}))
    return folder


def text_rows(count: int) -> list[dict[str, Any]]:
    """Return questions without media."""
    return [
        {"id": f"r{row}", "question": f"How much is {row} + {row}?", "answer": str(2 * row)} for row in range(count)
    ]


def words(folder: Path, url: str, **more: Any) -> list[str]:
    """Return the words after `synth`: one greedy call a row, unless told otherwise."""
    given = {
        "pipeline": "answer",
        "use_cot": "false",
        "num_knowledge": 0,
        "engine": "openai",
        "model": "test",
        "base_url": url,
        "dataset_dir": folder,
        "dataset": "d",
        "output": folder / "out" / "o.jsonl",
    }
    return [f"{key}={'null' if value is None else value}" for key, value in (given | more).items()]


def knowledge_words(folder: Path, url: str, **more: Any) -> list[str]:
    """Return the words of a run whose rows take several calls, one after the other."""
    bare = {"pipeline": "knowledge", "helpful_by": "outcome", "num_samples": 3}
    given = [word for word in words(folder, url, **(bare | more)) if not word.startswith(("use_cot", "num_knowledge"))]
    return given


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a .jsonl file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
