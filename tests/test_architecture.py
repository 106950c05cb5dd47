"""Who may import whom: the house's plan, read from the source of every file. Changing the plan means changing this page."""

import ast
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "llamafactory_hind"
HOST = "llamafactory"

# Room -> the rooms it may import. A room that is not listed may not exist.
MAY_IMPORT = {
    "attach": {"config", "formats", "stages", "trainers", "pipelines", "board"},
    "config": set(),
    "storage": {"config"},
    "losses": set(),
    "rewards": {"regions", "evaluation"},
    "regions": set(),
    "evaluation": {"config", "formats", "regions"},
    "formats": {"regions"},
    "engines": {"losses", "formats"},
    "trainers": {"engines", "losses", "formats"},
    "stages": {"config", "engines", "formats", "losses", "rewards", "trainers"},
    "pipelines": {"config", "engines", "evaluation", "formats", "regions", "rewards"},
    "importers": {"formats", "pipelines"},
    "board": {"config"},
    "toyworld": {"config", "engines", "evaluation", "formats", "pipelines", "regions", "rewards"},
}
IMPORTS_HOST = {"attach", "formats", "engines", "trainers", "stages", "board"}
STANDARD_LIBRARY_ONLY = {
    "attach/bootstrap.py",
    "attach/host_import.py",
    "attach/hooks.py",
    "attach/commands.py",
    "config",
}
# Room -> outside packages that would make it heavier, or tied to one engine.
FORBIDDEN = {
    "losses": {"transformers", "trl", "accelerate", "peft", "datasets", "numpy"},
    "rewards": {"torch", "transformers"},
    "regions": {"torch", "transformers"},
    "evaluation": {"torch", "transformers"},
    "storage": {"torch", "transformers", "datasets"},
    "pipelines": {"torch", "transformers", "trl"},
    "importers": {"torch", "transformers", "datasets"},
}


def imports_of(source: str, package: str) -> set[str]:
    """Return the absolute names of all modules that a source text imports, wherever in it; type-only imports included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def violations(path: str, source: str) -> list[str]:
    """Return what a file (path below the package) imports against the plan."""
    room = path.partition("/")[0]
    if "/" not in path:
        return [f"{path} imports {name}" for name in sorted(imports_of(source, PACKAGE))]  # __init__: the version only
    if room not in MAY_IMPORT:
        return [f"{path}: there is no room {room} in the plan"]
    package = ".".join([PACKAGE, *path.split("/")[:-1]])
    broken = []
    for name in sorted(imports_of(source, package)):
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top == PACKAGE and other and other != room and other in MAY_IMPORT and other not in MAY_IMPORT[room]:
            broken.append(f"{path} imports {name}: {room} may not import {other}")
        if (
            room == "stages"
            and top == PACKAGE
            and rest.count(".")
            and other == "stages"
            and path != "stages/__init__.py"
        ):
            broken.append(f"{path} imports {name}: stages never import each other")
        if top == HOST and room not in IMPORTS_HOST:
            broken.append(f"{path} imports {name}: {room} may not import the host")
        if name.startswith("pyarrow.json"):
            broken.append(
                f"{path} imports {name}: it makes broken arrays, which end the interpreter (storage/rows reads)"
            )
        if top in FORBIDDEN.get(room, ()):
            broken.append(f"{path} imports {name}: {room} does without {top}")
        if {path, room} & STANDARD_LIBRARY_ONLY and top != PACKAGE and top not in stdlib():
            broken.append(f"{path} imports {name}: standard library only")
    return broken


def stdlib() -> frozenset[str]:
    """Return the names of the standard library."""
    import sys

    return sys.stdlib_module_names


def replaced_host_names(source: str) -> list[str]:
    """Return assignments to attributes of host modules and calls of setattr on them."""
    tree = ast.parse(source)
    host_names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            host_names |= {
                alias.asname or alias.name.partition(".")[0]
                for alias in node.names
                if alias.name.split(".")[0] == HOST
            }
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == HOST:
            host_names |= {alias.asname or alias.name for alias in node.names}
    found = []
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
            targets = [ast.Attribute(node.args[0])]
        for target in targets:
            while isinstance(target, ast.Attribute | ast.Subscript):
                target = target.value
                if isinstance(target, ast.Name) and target.id in host_names:
                    found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def files() -> list[Path]:
    return sorted((ROOT / PACKAGE).rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT / PACKAGE)))
def test_imports_follow_the_plan(path: Path) -> None:
    assert not violations(path.relative_to(ROOT / PACKAGE).as_posix(), path.read_text(encoding="utf-8"))


def test_host_names_are_replaced_in_attach_alone() -> None:
    found = {
        str(path.relative_to(ROOT)): replaced_host_names(path.read_text(encoding="utf-8"))
        for path in files()
        if path.relative_to(ROOT / PACKAGE).parts[0] != "attach"
    }
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("losses/a.py", "import llamafactory.data"),
        ("losses/a.py", "def f():\n    from ..engines.scoring import token_logprobs"),
        ("rewards/a.py", "import torch"),
        ("trainers/a.py", "from ..stages import kepo"),
        ("trainers/a.py", "from llamafactory_hind.stages.kepo import run"),
        ("stages/grpo.py", "from .kepo import run"),
        ("stages/grpo.py", "from . import kepo"),
        ("pipelines/a.py", "from .. import trainers"),
        ("config/a.py", "import yaml"),
        ("attach/bootstrap.py", "import torch"),
        ("storage/a.py", "from ..formats import rows"),
        ("storage/rows/a.py", "import datasets"),
        ("storage/rows/a.py", "from pyarrow import json"),
        ("storage/rows/a.py", "import pyarrow.json as pj"),
        ("cellar/a.py", ""),
        ("__init__.py", "from .losses import preference"),
    ],
)
def test_the_plan_catches(path: str, source: str) -> None:
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("losses/a.py", "import torch\nfrom .logprobs import linear_logprobs\nfrom . import reduce"),
        ("stages/grpo.py", "from ..trainers.pairs import PairTrainer\nfrom llamafactory.data import get_dataset"),
        ("stages/__init__.py", "from importlib import import_module"),
        ("__init__.py", "__version__ = '1'"),
    ],
)
def test_the_plan_allows(path: str, source: str) -> None:
    assert not violations(path, source)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from llamafactory.data import loader\nloader.align_dataset = 1", 1),
        ("import llamafactory.data.loader as l\nl.x['a'] = 1\nsetattr(l, 'b', 2)", 2),
        ("from llamafactory.data import loader\nx = loader.align_dataset\ny = {}\ny['a'] = 1", 0),
    ],
)
def test_replacing_a_host_name_is_seen(source: str, count: int) -> None:
    assert len(replaced_host_names(source)) == count
