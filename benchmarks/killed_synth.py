"""Runs of `synth` that are killed, one kind a pipeline: a real server in this process, or a tiny model in that of the run."""

import json
from pathlib import Path
from typing import Any

from killed_stages import register, write_all


COMMAND = "import sys; from llamafactory_hind.pipelines.runner.run import run_synth; run_synth(sys.argv[1:])"
SYNTH = "synth"  # `knowledge` with a local model, under its older name
ROWS = 12
LATENCY = 0.1  # seconds of a call, so that a run has moments at which it can be killed
UNLIKE = (
    ".journal.",
    ".steps.",
    ".calls.",
    ".lock",
)  # records of what was done when; a killed run may have done it twice
HINDSIGHT = "Reasoning:\n1. It grows in caves.\n2. So it is moss.\n\nKnowledge:\n1. Moss is green.\n\nAnswer: moss"
PIPELINES: dict[str, dict[str, Any]] = {
    SYNTH: {
        "pipeline": "knowledge",
        "dataset": "pairs",
        "num_samples": 3,
        "helpful_by": "outcome",
        "max_new_tokens": 8,
    },
    "rank": {"dataset": "ranked", "template": "qwen2_vl_region", "region_style": "both"},
    "answer": {"dataset": "pairs"},
    "external": {"dataset": "prompts"},
    "hindsight": {"dataset": "pairs"},
    "hints": {"dataset": "prompts"},
    "localized": {"dataset": "ranked", "num_triples": 2},
    "video_reasoning": {"dataset": "clips", "refine_by_model": "true"},
}
LOCAL = (SYNTH, "rank")


def write(body: dict[str, Any], number: int) -> str:
    """Answer in the form that the prompt of a pipeline asks for; the text follows from the request alone."""
    from shared.openai_server import answer

    told, one = json.dumps(body["messages"]), answer(body, number)
    if "Rationale:" in told:
        return f"Question: What is it?\nAnswer: {one}\nRationale: it looks like one"
    if "<hint>" in told:
        return f"<hint>Look at the part that is {one}.</hint>"
    if "Knowledge:" in told and "Reasoning:" in told:
        return HINDSIGHT
    return f"{one}. It moves.\nAnswer: A" if "A." in told or "(A)" in told else one


def write_more(world: Path, folder: Path) -> None:
    """Write rows of a kind that no stage of `killed_stages` reads: choices to rank, and parts of videos."""
    picture = sorted(path.name for path in (world / "images").glob("*.png"))[0]
    video = sorted(path.name for path in (world / "clips").glob("*.mp4"))[0]
    region = {"images": [f"images/{picture}"], "regions": [{"box": [2, 3, 30, 28], "label": "thing"}]}
    choices = {"choices": ["it eats moss", "bells", "it lives in caves"], "answer": "bells"}
    asked = [{"id": f"r{i}", **region, "question": f"What is told of <region:0>, {i}?"} for i in range(ROWS)]
    register(folder, "ranked", [{**row, **choices} for row in asked], formatting="region")
    part = {"videos": [f"clips/{video}"], "start": 0.0, "end": 0.9, "choices": ["a", "b", "c"], "answer": 0}
    clips = [{"id": f"v{i}", **part, "question": f"Why, {i}?"} for i in range(ROWS)]
    register(folder, "clips", clips, formatting="video_reasoning")


class SynthRuns:
    """Runs of one pipeline over twelve rows or more; each start is a process.

    Attributes:
        whole: folder of the run that is never killed.
    """

    def __init__(self, work: Path, name: str = SYNTH, **changes: Any) -> None:
        """Write the rows, and start the server of a pipeline that calls one."""
        from conftest import build_small_world

        from shared.store import kept

        folder = work / "rows"
        folder.mkdir()
        world = kept("world", build_small_world)
        write_all(world, folder)
        write_more(world, folder)
        self.work, self.whole = work, work / "whole"
        places = {"dataset_dir": folder, "media_dir": world, "max_failure_rate": 1}
        engine = self._local(world) if name in LOCAL else self._served()
        self.words = {"pipeline": name, **engine, **places, **PIPELINES[name], **changes}

    def _local(self, world: Path) -> dict[str, Any]:
        tiny = {"model_name_or_path": world / "tiny", "template": "qwen2_vl", "infer_dtype": "float32"}
        return {"engine": "hf", "batch_size": 2, **tiny}

    def _served(self) -> dict[str, Any]:
        from shared.openai_server import Behaviour, OpenAIServer

        self.server = OpenAIServer(Behaviour(latency=LATENCY, answer=write)).__enter__()  # until this process ends
        return {"engine": "openai", "model": "test", "base_url": self.server.url, "concurrency": 3}

    def start(self, out: Path, **environment: str) -> Any:
        """Start a run into a folder."""
        from shared.killing import ARMED
        from shared.warm import Processes

        words = {**self.words, "output": out / "o.jsonl", "output_dataset": out.name}
        argv = [f"{key}={value}" for key, value in words.items()]
        return Processes(ARMED + COMMAND, argv, out.with_suffix(".log"), **environment)

    def differences(self, out: Path) -> list[str]:
        """Return the files of rows and numbers that differ, byte by byte."""
        names = {file.name for folder in (out, self.whole) for file in folder.iterdir() if self._counts(file)}
        read = lambda folder, name: (folder / name).read_bytes() if (folder / name).exists() else None
        return [name for name in sorted(names) if read(out, name) != read(self.whole, name)]

    def _counts(self, file: Path) -> bool:
        return (
            file.suffix in (".json", ".jsonl")
            and not file.name.startswith(".")
            and not any(word in file.name for word in UNLIKE)
        )
