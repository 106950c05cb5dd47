"""``python -m llamafactory_hind.toyworld.demo``: the main job on the offline world, through the real `llamafactory-cli`.

World, base checkpoint (`sft`), knowledge generator (`sft`, LoRA), knowledge pairs (`synth`), KEPO, and what changed. Every step is a
command you can run yourself; it is printed, and skipped when what it makes is there already.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


CONFIGS = Path("yaml_configs/toyworld")
console = Console(highlight=False)


@dataclass(frozen=True)
class Step:
    """One command of the demo, and the file that shows it is done."""

    title: str
    command: list[str]
    makes: Path


def steps(work: Path, *, seed: int) -> list[Step]:
    """The demo's commands in order."""
    cli = Path(sys.executable).with_name("llamafactory-cli")

    def llamafactory(*words: str) -> list[str]:
        return [str(cli), *words]

    def measure(name: str, adapter: str) -> Step:
        output = work / "knowledge" / f"{name}.json"
        words = [
            "synth",
            f"{CONFIGS}/knowledge.yaml",
            "dataset=hindsight_test",
            f"adapter_name_or_path={work / adapter}",
        ]
        words += [f"output={output}", f"output_dataset=knowledge_{name}"]
        return Step(f"knowledge {name} KEPO, held out", llamafactory(*words), output.with_suffix(".quadrants.json"))

    world = [sys.executable, "-m", "llamafactory_hind.toyworld", "--out", str(work), "--seed", str(seed)]
    train = {name: llamafactory("train", f"{CONFIGS}/{name}.yaml") for name in ("base", "knowledge_sft", "kepo")}
    evaluate = [sys.executable, "-m", "llamafactory_hind.toyworld.evaluate", "--model", str(work / "base")]
    evaluate += ["--data", str(work), "--out", str(work / "base" / "accuracy.json")]
    return [
        Step("offline world", world, work / "dataset_info.json"),
        Step("base checkpoint (stage: sft)", train["base"], work / "base" / "all_results.json"),
        Step("what the base sees", evaluate, work / "base" / "accuracy.json"),
        Step("knowledge generator (stage: sft)", train["knowledge_sft"], work / "hdft" / "all_results.json"),
        measure("before", "hdft"),
        Step(
            "knowledge pairs (synth)",
            llamafactory("synth", f"{CONFIGS}/knowledge.yaml"),
            work / "knowledge" / "pairs.json",
        ),
        Step("KEPO (stage: kepo)", train["kepo"], work / "kepo" / "all_results.json"),
        measure("after", "kepo"),
    ]


def run(step: Step, log: Path, number: int, count: int) -> bool:
    """Run a step, its output in `log`, unless it is done; return whether it ran."""
    head = f"[bold]{number}/{count}[/] {step.title}"
    if step.makes.is_file():
        console.print(f"{head}: [green]reused[/] {step.makes}")
        return False
    shown = [word if "/bin/" not in word else Path(word).name for word in step.command]
    console.print(f"{head}\n    [dim]{' '.join(shown)}[/]", soft_wrap=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    threads = str(os.cpu_count() or 1)  # one step runs at a time: it may have the machine
    with log.open("w") as file, console.status("running ..."):
        code = subprocess.run(
            step.command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": threads},
            check=False,
        ).returncode
    if code != 0 or not step.makes.is_file():
        console.print(log.read_text(errors="replace")[-3000:], markup=False)
        raise SystemExit(
            f"{step.title} failed (exit {code}); the whole log is in {log}. Run the command again to resume."
        )
    console.print(f"    {time.monotonic() - start:.0f} s, log in {log}")
    return True


def report(work: Path) -> None:
    """Print the table before/after, draw it, and name every picture."""
    accuracy = json.loads((work / "base" / "accuracy.json").read_text())["accuracy"]
    seen = Table(title="What the base checkpoint sees (held-out images)")
    seen.add_column("question")
    seen.add_column("accuracy", justify="right")
    for kind, value in accuracy.items():
        seen.add_row(kind, f"{value:.1%}")
    console.print(seen)

    found = {
        name: json.loads((work / "knowledge" / f"{name}.quadrants.json").read_text()) for name in ("before", "after")
    }
    table = Table(title="Knowledge on held-out images, before and after KEPO")
    for heading in ("", "before", "after"):
        table.add_column(heading, justify="right" if heading else "left")
    for title, key in (("helpful, greedy", "greedy_helpful_rate"), ("helpful, sampled", "sampled_helpful_rate")):
        table.add_row(title, *(f"{found[name][key]:.1%}" for name in found))
    table.add_section()
    for corner in found["before"]["quadrants"]["shares"]:
        table.add_row(corner, *(f"{found[name]['quadrants']['shares'][corner]:.1%}" for name in found))
    console.print(table)
    threshold = found["before"]["quadrants"]["threshold"]
    console.print(f"confident = above {threshold:.3f} nats a token, the median before KEPO")
    _plot(found, work / "demo.png")
    for picture in [
        work / "demo.png",
        *sorted((work / "kepo").glob("*.png")),
        *sorted((work / "knowledge").glob("*.png")),
    ]:
        console.print(f"picture: {picture}")


def _plot(found: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates, corners = figure.subplots(1, 2, width_ratios=[1, 2])
    for shift, (name, color) in enumerate((("before", "#bbbbbb"), ("after", "#4477aa"))):
        values = [found[name]["greedy_helpful_rate"], found[name]["sampled_helpful_rate"]]
        rates.bar([place + 0.38 * shift for place in range(2)], values, 0.36, label=f"{name} KEPO", color=color)
        shares = found[name]["quadrants"]["shares"]
        corners.bar([place + 0.38 * shift for place in range(4)], list(shares.values()), 0.36, color=color)
    rates.set_xticks([0.19, 1.19], ["greedy", "sampled"])
    rates.set(title="Helpful knowledge", ylim=(0, 1.05))
    rates.legend(frameon=False)
    labels = [corner.replace(", ", ",\n") for corner in found["before"]["quadrants"]["shares"]]
    corners.set_xticks([place + 0.19 for place in range(4)], labels)
    corners.set(title="Sampled texts", ylim=(0, 1.05))
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    """Run what is missing, then report."""
    parser = argparse.ArgumentParser(prog="python -m llamafactory_hind.toyworld.demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the world; another seed needs another folder")
    arguments = parser.parse_args(argv)
    if not CONFIGS.is_dir():
        raise SystemExit(f"{CONFIGS} is not here: run the demo from the root of the repository.")
    work = Path("build/toyworld")  # the folder the YAML files name
    start = time.monotonic()
    todo = steps(work, seed=arguments.seed)
    ran = 0
    for number, step in enumerate(todo, start=1):
        command = step
        if (
            step.makes.name == "after.quadrants.json"
        ):  # judged by the threshold of before, or the rows could not be compared
            threshold = json.loads((work / "knowledge" / "before.quadrants.json").read_text())["quadrants"][
                "threshold"
            ]
            command = Step(step.title, [*step.command, f"confidence_threshold={threshold}"], step.makes)
        ran += run(command, work / "logs" / f"{number}.log", number, len(todo))
    report(work)
    reused = f"{len(todo) - ran} of {len(todo)} steps reused; `rm -r {work}` starts over. " if ran < len(todo) else ""
    console.print(f"{reused}{time.monotonic() - start:.0f} s in all.")


if __name__ == "__main__":
    main()
