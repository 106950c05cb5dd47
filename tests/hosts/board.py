"""The Board under one version of the host, built with our package and without: its elements have the same names, and for every
stage of the host the same form writes the same YAML and the same saved file, byte for byte.

`make test-host-VERSION` runs it in that version's environment, `make test-browser` in that of the tests.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor


LIST = """
import json, sys
from pathlib import Path

import yaml
from gradio.components import FormComponent
from llamafactory.extras.constants import TRAINING_STAGES
from llamafactory.webui.common import save_cmd
from llamafactory.webui.engine import Engine
from llamafactory.webui.interface import create_ui

found = []
build = Engine.__init__
def remember(self, *args, **kwargs):
    build(self, *args, **kwargs)
    found.append(self)
Engine.__init__ = remember
create_ui()
for language in ("en", "ru", "zh", "ko", "ja"):
    found[0].change_lang(language)
manager, runner = found[0].manager, found[0].runner
ids = manager._id_to_elem
data = {element: element.value for name, element in ids.items()
        if isinstance(element, FormComponent) and name.startswith(("top.", "train."))}
typed = {"top.lang": "en", "top.model_name": "Custom", "top.model_path": "m", "train.dataset": ["d"]}
typed |= {"train.output_dir": "out", "train.warmup_steps": 3, "train.pref_beta": 0.2, "train.extra_args": '{"seed": 1}'}
written = {}
for title, stage in TRAINING_STAGES.items():
    if stage in ("pt", "sft", "rm", "ppo", "dpo", "kto"):
        for name, value in {**typed, "train.training_stage": title, "train.reward_model": ["r"]}.items():
            data[manager.get_elem_by_id(name)] = value
        path = save_cmd(runner._parse_train_args(data))
        written[stage] = [Path(path).read_text(), yaml.safe_dump(runner._build_config_dict(data))]
print("FOUND " + json.dumps([sorted(ids), written]))
"""


def look(**environ: str) -> tuple[set[str], dict[str, list[str]]]:
    """Build a Board in a new process; return the names of its elements, and stage -> what it writes."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-c", LIST], cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True
        )
    lines = [line for line in run.stdout.splitlines() if line.startswith("FOUND ")]
    assert run.returncode == 0 and lines, run.stderr[-3000:]
    names, written = json.loads(lines[-1].removeprefix("FOUND "))
    return set(names), written


def main() -> None:
    """Compare.

    Raises:
        AssertionError: an element of the host is gone, one is new that is not ours, one of ours is missing, or a stage of the
            host writes something else.
    """
    from llamafactory_hind.board.fields import board_fields
    from llamafactory_hind.board.tabs import labels

    with ThreadPoolExecutor() as threads:  # two processes, which import for most of their time
        without, beside = threads.submit(look, LLAMAFACTORY_HIND_DISABLE="1"), threads.submit(look)
        (host, alone), (both, together) = without.result(), beside.result()
    assert host <= both, f"lost: {sorted(host - both)}"
    ours = both - host
    assert all(name.partition(".")[2].startswith("hind_") for name in ours), sorted(ours)
    wanted = {f"train.{field.name}" for field in board_fields()} | {f"hind.{name}" for name in labels()}
    assert wanted <= ours, f"missing: {sorted(wanted - ours)}"
    assert len(alone) == 6
    assert alone == together, [stage for stage in alone if alone[stage] != together[stage]]
    version = importlib.metadata.version("llamafactory")
    print(f"board: {len(host)} elements of llamafactory {version}, {len(ours)} of ours; 6 stages as without us")


if __name__ == "__main__":
    main()
