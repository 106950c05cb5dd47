"""Writing completions: the prompt's cache kept once for its group (`cascade`) beside a cache that is repeated for every completion.

    python benchmarks/writing.py                     # 16, 64 and 128 rows, one process a case
    python benchmarks/writing.py --case middle1000 --rows 128

One model in one process writes with both ways in turn, the same tokens; medians of tokens a second and their ratio, and the growth
of the peak resident set in a process of its own for each way. Sizes are those of `benchmarks/grpo.py`; each prompt has an image and
8 completions of 64 tokens, nothing stops early.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import llamafactory  # noqa: F401  mends trl's package check before trl is imported
import torch
from grpo import CASES, GROUP, NEW_TOKENS, build_model, picture, question, status
from live_table import growing_table
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer

from llamafactory_hind.engines.interface import Prompt, Request, Sampling
from llamafactory_hind.engines.local.engine import LocalEngine
from llamafactory_hind.engines.local.weights import LoadedModel
from llamafactory_hind.toyworld.build import build


WAYS = {"cascade": True, "repeated": False}


class Writer:
    """An engine over random weights, and prompts for it."""

    def __init__(self, name: str, rows: int, world: Path) -> None:
        case = CASES[name]
        modules = load_tokenizer(ModelArguments(model_name_or_path=str(world / "tiny"), image_max_pixels=2**22))
        tokenizer = modules["tokenizer"]
        template = get_template_and_fix_tokenizer(tokenizer, DataArguments(template="qwen2_vl"))
        self.loaded = LoadedModel(build_model(case, tokenizer), tokenizer, modules["processor"], template)
        images = [picture(case)]
        messages = [{"role": "user", "content": "<image>" + question(case)}, {"role": "assistant", "content": ""}]
        messages = template.mm_plugin.process_messages(messages, images, [], [], modules["processor"])
        ids, _ = template.encode_oneturn(tokenizer, messages)
        self.prompts = [Prompt(ids, [], Request((), images=images)) for _ in range(rows // GROUP)]
        self.engines = {way: self._engine(cascade, rows) for way, cascade in WAYS.items()}

    def _engine(self, cascade: bool, rows: int) -> LocalEngine:
        engine = LocalEngine(self.loaded, batch_size=rows, adapters=None, gives_logps=False)
        engine.writer.cascade, engine.stop_ids = cascade, engine.banned_ids[:1]  # never written
        return engine

    def write(self, way: str) -> tuple[list, float]:
        """Return what is written, and tokens a second."""
        sampling = Sampling(n=GROUP, temperature=0.9, top_p=1.0, top_k=0, max_new_tokens=NEW_TOKENS, seed=0)
        keys = [str(number) for number in range(len(self.prompts))]
        began = time.perf_counter()
        written = self.engines[way].generate_prompts(self.prompts, keys, sampling)
        seconds = time.perf_counter() - began
        assert self.engines[way].writer.cascade == WAYS[way], "the way was given up"
        return written, len(self.prompts) * GROUP * NEW_TOKENS / seconds


def measure(name: str, rows: int, runs: int, world: Path) -> dict[str, float]:
    """Return medians of both ways."""
    writer = Writer(name, rows, world)
    first = {way: writer.write(way)[0] for way in WAYS}  # each proves itself here
    same = sum(
        one.token_ids == other.token_ids
        for groups in zip(first["cascade"], first["repeated"], strict=True)
        for one, other in zip(*groups, strict=True)
    )
    pairs = [{way: writer.write(way)[1] for way in WAYS} for _ in range(runs)]
    found = {way: statistics.median(pair[way] for pair in pairs) for way in WAYS}
    ratio = statistics.median(pair["cascade"] / pair["repeated"] for pair in pairs)
    return {**found, "ratio": ratio, "same": same / rows, "prompt": len(writer.prompts[0].input_ids)}


def measure_memory(name: str, rows: int, way: str, world: Path) -> dict[str, float]:
    """Return the growth of the peak resident set while one way writes, after it has proved itself."""
    writer = Writer(name, rows, world)
    writer.write(way)
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    writer.write(way)
    return {"mib": status("VmHWM") - before}


def main() -> None:
    """Measure each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=sorted(CASES), default=["image300", "image1000", "middle300"])
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64, 128])
    parser.add_argument("--runs", type=int, default=5, help="pairs a case")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, rows, world = arguments.child
        name = arguments.case[0]
        if kind == "time":
            print(json.dumps(measure(name, int(rows), arguments.runs, Path(world))))
        else:
            print(json.dumps(measure_memory(name, int(rows), kind, Path(world))))
        return
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    world = Path(tempfile.mkdtemp())
    build(world, seed=0, size="small")
    headings = ("case", "rows", "prompt", "repeated, tokens/s", "cascade", "ratio", "MiB, repeated", "cascade", "same")
    with growing_table(*headings) as add:
        for name in arguments.case:
            for rows in arguments.rows:
                time_, *memory = (child(name, kind, rows, arguments.runs, world) for kind in ("time", *WAYS))
                cells = [f"{time_['repeated']:.0f}", f"{time_['cascade']:.0f}", f"{time_['ratio']:.2f}"]
                cells += [f"{memory[1]['mib']:.0f}", f"{memory[0]['mib']:.0f}", f"{100 * time_['same']:.0f} %"]
                add(name, str(rows), f"{time_['prompt']:.0f}", *cells)


def child(name: str, kind: str, rows: int, runs: int, world: Path) -> dict[str, float]:
    words = ["--case", name, "--runs", str(runs), "--child", kind, str(rows), str(world)]
    output = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
