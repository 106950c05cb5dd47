"""The Board under one version of the host: it is built with our package and without, and the names of its elements are compared.

`make test-host-VERSION` runs it in that version's environment.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile


LIST = """
import json, sys
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
print("NAMES " + json.dumps(sorted(found[0].manager._id_to_elem)))
"""


def names(**environ: str) -> set[str]:
    """Build a Board in a new process; return the names of its elements."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-c", LIST], cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True
        )
    lines = [line for line in run.stdout.splitlines() if line.startswith("NAMES ")]
    assert run.returncode == 0 and lines, run.stderr[-3000:]
    return set(json.loads(lines[-1].removeprefix("NAMES ")))


def main() -> None:
    """Compare.

    Raises:
        AssertionError: an element of the host is gone, or one is new that is not ours, or one of ours is missing.
    """
    from llamafactory_hind.board.fields import board_fields
    from llamafactory_hind.board.tabs import labels

    host, both = names(LLAMAFACTORY_HIND_DISABLE="1"), names()
    assert host <= both, f"lost: {sorted(host - both)}"
    ours = both - host
    assert all(name.partition(".")[2].startswith("hind_") for name in ours), sorted(ours)
    wanted = {f"train.{field.name}" for field in board_fields()} | {f"hind.{name}" for name in labels()}
    assert wanted <= ours, f"missing: {sorted(wanted - ours)}"
    version = importlib.metadata.version("llamafactory")
    print(f"board: {len(host)} elements of llamafactory {version}, {len(ours)} of ours")


if __name__ == "__main__":
    main()
