"""API keys in what runs leave behind: none. A server echoes the key in its errors, and every file and output is searched."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from killed_stages import base_settings, write_all


TELLING = "TellingValue7391"
KEYS = {"HIND_BENCH_KEY": f"sk-{TELLING}-abcdefghij", "HIND_BENCH_ODD_KEY": f'sk-"{TELLING}\\/+=&<{TELLING}>%'}
SIGNS = (TELLING, base64.b64encode(TELLING.encode()).decode().rstrip("=")[:-1], TELLING.encode().hex())
HINT = "<hint>Look at it.</hint>"


class Gateway:
    """What a server does that repeats the key that it was sent.

    Attributes:
        key: that of the run.
    """

    key = KEYS["HIND_BENCH_KEY"]

    def echo_errors(self, number: int, body: Mapping[str, Any]) -> tuple[int, dict[str, str], str] | None:
        """Answer every third call with an error that repeats the key, as some gateways repeat their requests."""
        told = {"error": {"message": f"no such key: Bearer {self.key}"}}
        return (500, {}, json.dumps(told)) if number % 3 == 0 else None

    def say_the_key(self, body: Mapping[str, Any], number: int) -> str:
        """Write a text that holds the key, as a model that has seen it in its prompt may."""
        return f"<think>{HINT}</think> the key is {self.key} <answer>moss</answer>"


def texts_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the content of every file; compressed ones are unpacked."""
    import pyarrow.parquet as pq

    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield file, file.read_bytes()
        if file.suffix == ".parquet":
            yield file, repr(pq.read_table(file).to_pylist()).encode()


def hits(folder: Path) -> list[str]:
    """Return the files below a folder that hold a key."""
    found = []
    for file, content in texts_of(folder):
        if any(sign.encode() in content for sign in SIGNS):
            found.append(str(file.relative_to(folder)))
    return sorted(set(found))


def command(work: Path, name: str, words: list[str]) -> int:
    """Run the real command with the keys in its environment; its output is a file among those that are searched."""
    program = Path(sys.executable).with_name("llamafactory-cli")
    environment = os.environ | KEYS | {"PYTHONPATH": str(Path(__file__).parents[1]), "LLAMAFACTORY_HIND_DEBUG": "1"}
    run = subprocess.run([str(program), *words], cwd=work, env=environment, capture_output=True, check=False)
    (work / f"{name}.out").write_bytes(run.stdout + run.stderr)
    return run.returncode


def synth_words(folder: Path, url: str, name: str, variable: str, **more: Any) -> list[str]:
    """Return the words of a run of `synth`."""
    from shared.synth import words

    output = folder.parent / name / "o.jsonl"
    more = {"api_key_env": variable, "max_retries": 1, "max_failure_rate": 1, "output": output, **more}
    return ["synth", *words(folder, url, dataset="pairs", output_dataset=name, **more)]


def train(work: Path, name: str, settings: dict[str, Any]) -> None:
    """Train in a warm process, to its end or its error."""
    from shared.stages import TRAIN, written
    from shared.warm import Processes

    file = work / name
    words = [str(written({**settings, "output_dir": str(work / f"{name}-out")}, file))]
    process = Processes(TRAIN, words, work / f"{name}.out", **KEYS, LLAMAFACTORY_HIND_DEBUG="1")
    process.wait()


def api_keys(work: Path) -> bool:
    """Run everything that takes a key; report and return whether none is found in what they leave."""
    from conftest import build_small_world

    from shared.openai_server import Behaviour, OpenAIServer
    from shared.store import kept

    folder = work / "rows"
    folder.mkdir()
    world = kept("world", build_small_world)
    write_all(world, folder)
    gateway = Gateway()
    behaviour = Behaviour(script=gateway.echo_errors, answer=gateway.say_the_key)
    with OpenAIServer(behaviour) as server:
        ran = list(runs(work, folder, world, server.url, gateway))
        behaviour.api_key, behaviour.script = "another", None  # every answer is 401, with the header it was given
        ran += list(refused_runs(work, folder, world, server.url))
        sent = sum(KEYS["HIND_BENCH_KEY"] in headers.get("Authorization", "") for headers in server.headers)
    files = sum(path.is_file() for path in work.rglob("*"))
    found = hits(work)
    print(
        f"{len(ran)} runs with keys, {sent} calls that carried one; {files} files searched, outputs and checkpoints among them"
    )
    print(f"  runs: {', '.join(ran)}")
    print(f"  files that hold a key: {len(found)} {found[:10]}")
    return not found and sent > 0


def runs(work: Path, folder: Path, world: Path, url: str, gateway: Gateway) -> Iterator[str]:
    """Run commands that work, with a server that fails now and then."""
    media = {"media_dir": world}
    for variable in reversed(KEYS):  # the trainings below have the first
        gateway.key, name = KEYS[variable], f"synth-{variable.lower()}"
        yield f"{name} {command(work, name, synth_words(folder, url, name, variable, **media))}"
    words = synth_words(folder, url, "dry", "HIND_BENCH_KEY", dry_run=2, **media)
    yield f"dry_run {command(work, 'dry', words)}"
    words = synth_words(folder, url, "checked", "HIND_BENCH_KEY", check_calls="true", **media)
    yield f"check --json {command(work, 'check', ['check', *words[1:], '--json'])}"
    yield f"synth --help {command(work, 'help', ['synth', '--help'])}"
    yield from trainings(work, folder, world, url, "served")


def refused_runs(work: Path, folder: Path, world: Path, url: str) -> Iterator[str]:
    """Run commands that end with an error: a wrong key at the server, and the key itself where a name belongs."""
    for variable in KEYS:
        name = f"refused-{variable.lower()}"
        words = synth_words(folder, url, name, variable, media_dir=world, max_failure_rate=0.1)
        yield f"{name} {command(work, name, words)}"
    for key in KEYS.values():
        places = {"media_dir": world}
        given = [
            word for word in synth_words(folder, url, "given", "NAME", **places) if not word.startswith("api_key")
        ]
        for number, wrong in enumerate(
            (f"api_key_env={key}", f"api_key={key}", f"base_url=http://u:{key}@localhost/v1")
        ):
            name = f"given-{number}-{len(key)}"
            yield f"{name} {command(work, name, [*given, wrong])}"
    yield from trainings(work, folder, world, url, "wrong")


def trainings(work: Path, folder: Path, world: Path, url: str, name: str) -> Iterator[str]:
    """Train with servers as teachers."""
    api = {"base_url": url, "model": "m", "api_key_env": "HIND_BENCH_KEY", "max_retries": 1, "timeout": 5}
    teacher = work / f"{name}-teacher.yaml"
    teacher.write_text(json.dumps({"api": api}))
    settings = base_settings(world, folder) | {"max_steps": 2}
    hints = {"hint_samples": 2, "hint_trigger": "always", "teacher": str(teacher), "distill_weight": 0.0}
    gated = {"stage": "gated_distill", "gate_reward": "vowels", "gate_threshold": 0.2, **hints}
    train(work, f"{name}-gated", settings | gated)
    external = {"stage": "external_grpo", "external_teacher": str(teacher)}
    train(work, f"{name}-external", settings | external)
    (work / f"{name}-given.yaml").write_text(json.dumps({"api": api | {"api_key_env": "A_NAME"}}))
    train(work, f"{name}-failed", settings | gated | {"teacher": str(work / f"{name}-given.yaml")})
    yield f"{name}: gated_distill, external_grpo, a failed run"
