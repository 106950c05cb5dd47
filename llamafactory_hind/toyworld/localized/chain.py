"""LSKD's whole chain on the offline world (arXiv 2312.04837): every step is one command with a YAML of `yaml_configs/toyworld`.

    python -m llamafactory_hind.toyworld.localized.chain [--seed N]

runs what is missing in `build/toyworld_lskd`; `benchmarks/lskd_toyworld.py` runs it for many seeds.
"""

import argparse
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..chain import CONFIGS, Chain, Step


HOME = Path("build/toyworld_lskd")  # the folder that the YAML files name


def before(chain: Chain, size: str = "base") -> Iterator[Step]:
    """Yield what LSKD begins with: pictures and rated rows, the student's base, a teacher that describes, and the critic."""
    world = ("--out", str(chain.work), "--seed", str(chain.seed), "--size", size)
    made = chain.work / "tiny/config.json"
    yield Step("pictures", "pictures and rows", "llamafactory_hind.toyworld.localized", world, made)
    yield chain.train("lskd_base.yaml", "base", "base checkpoint (stage: sft)")
    yield chain.train("lskd_teacher.yaml", "teacher", "teacher, stopped early (stage: sft)")
    yield chain.train("lskd_critic.yaml", "lskd_critic", "critic (stage: critic)")


def triples(chain: Chain, name: str = "triples", **settings: str | int | float | bool) -> Step:
    """Descriptors, triples and their scores."""
    title = "descriptors, triples, critic (synth: localized)"
    step = chain.synth("lskd_localized.yaml", name, title, output_dataset=f"lskd_{name}", **settings)
    return replace(step, makes=chain.work / f"{name}.report.json")


def student(chain: Chain, name: str = "student", **settings: str | int | float) -> Step:
    """A student."""
    return chain.train("lskd_student.yaml", name, "student (stage: sft)", **settings)


def rank(chain: Chain, name: str = "student", makes: str = "ranked", **settings: str | int | float) -> Step:
    """The choices of held-out questions under a model."""
    model = str(chain.work / name)
    title = "held-out questions (synth: rank)"
    return chain.synth("lskd_rank.yaml", makes, title, model_name_or_path=model, **settings)


def steps(chain: Chain, size: str = "base") -> Iterator[Step]:
    """Yield the commands in order."""
    yield from before(chain, size)
    yield triples(chain)
    yield student(chain)
    yield rank(chain)
    makes = chain.work / "ranked.score.json"
    yield Step("score", "Q -> A, QA -> R, Q -> AR (score)", "score", (str(chain.configs / "lskd_score.yaml"),), makes)


def main(argv: list[str] | None = None) -> None:
    """Run what is missing, one command after the other."""
    parser = argparse.ArgumentParser(prog="python -m llamafactory_hind.toyworld.localized.chain", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the world; another seed needs another folder")
    arguments = parser.parse_args(argv)
    if not CONFIGS.is_dir():
        raise SystemExit(f"{CONFIGS} is not here: run the chain from the root of the repository.")
    for step in steps(Chain(HOME, CONFIGS, arguments.seed)):
        if step.makes.is_file():
            print(f"{step.title}: reused {step.makes}", flush=True)
            continue
        print(f"{step.title}\n    {' '.join(['llamafactory-cli', *step.argv()[1:]])}", flush=True)
        subprocess.run(step.argv(), check=True)


if __name__ == "__main__":
    main()
