"""Who may import whom: the house's plan, read from the source of every file. Changing the plan means changing this page."""

import ast
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "llamafactory_hind"
HOST = "llamafactory"

# Room -> the rooms it may import. A room that is not listed may not exist.
MAY_IMPORT = {
    "losses": set(),
    "config": set(),
    "regions": set(),
    "storage": {"config"},
    "formats": {"config", "regions", "storage"},
    "engines": {"config", "formats", "losses", "regions", "storage"},
    "evaluation": {"config", "formats", "regions", "storage"},
    "rewards": {"config", "evaluation", "formats", "regions"},
    "importers": {"config", "evaluation", "formats", "regions", "storage"},
    "trainers": {"config", "engines", "formats", "losses", "storage"},
    "methods": {"config", "engines", "formats", "losses", "storage", "trainers"},
    "stages": {"config", "engines", "evaluation", "formats", "losses", "methods", "rewards", "trainers"},
    "pipelines": {"config", "engines", "evaluation", "formats", "regions", "rewards", "storage"},
    "toyworld": {"config", "engines", "evaluation", "formats", "pipelines", "regions", "rewards"},
    "board": {"config", "evaluation", "formats", "pipelines", "regions", "rewards", "storage"},
    "check": {"config", "engines", "evaluation", "formats", "pipelines", "rewards", "storage", "trainers"},
    "attach": {"board", "check", "config", "formats", "pipelines", "stages", "trainers"},
}
# Folder -> folders or files of the same room that it may not import.
APART = {
    "trainers/pairs": {"trainers/rollouts", "trainers/multitask"},
    "trainers/rollouts": {"trainers/pairs", "trainers/multitask"},
    "trainers/multitask": {"trainers/pairs", "trainers/rollouts"},
    "engines/server": {"engines/local", "engines/teachers"},  # no torch behind a server
    "engines/local": {"engines/server", "engines/teachers"},
    "config/keys": {"config/stages"},
}
MACHINERY = {
    "pipelines": ("runner", "rules"),
    "importers": ("reading",),
    "rewards": ("runner",),
}  # imports no sibling of its own
IMPORTS_HOST = {"attach", "board", "check", "engines", "formats", "methods", "stages", "trainers"}
HOST_IN_FORMATS = ("/converter.py", "/align/", "/processors/", "/templates/")  # the other files of `formats` are pure
STANDARD_LIBRARY_ONLY = {
    "attach/bootstrap.py",
    "attach/host_import.py",
    "attach/hooks.py",
    "attach/commands.py",
    "config",
}
MAY_NEED_MORE = {
    "config/command.py",
    "config/reading.py",
}  # than the standard library: `attach` waits until there is a file
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
        pure = room == "formats" and not any(part in f"/{path}" for part in HOST_IN_FORMATS)
        if top == HOST and (room not in IMPORTS_HOST or pure):
            broken.append(f"{path} imports {name}: {'this file' if pure else room} may not import the host")
        if name.startswith("pyarrow.json"):
            broken.append(
                f"{path} imports {name}: it makes broken arrays, which end the interpreter (storage/rows reads)"
            )
        if top in FORBIDDEN.get(room, ()):
            broken.append(f"{path} imports {name}: {room} does without {top}")
        if (
            {path, room} & STANDARD_LIBRARY_ONLY
            and path not in MAY_NEED_MORE
            and top != PACKAGE
            and top not in stdlib()
        ):
            broken.append(f"{path} imports {name}: standard library only")
    return broken


# Files that write outside `storage`: a world that is drawn anew into its own folder, and pictures on their way to a server.
# A picture for a server; a file that one process of several can create, which therefore prints.
WRITES_ITSELF = ("storage/", "toyworld/", "engines/server/data_urls.py", "config/exits.py")
WRITING = {"write_text", "write_bytes", "savefig", "to_csv", "to_parquet", "save_file", "serialize_file"}
WRITING |= {"rmtree", "copyfile", "copytree", "mkstemp", "mkdtemp", "NamedTemporaryFile", "unlink", "rename"}
WRITING |= {
    "json.dump",
    "torch.save",
    "np.save",
    "np.savez",
    "pq.write_table",
    "os.replace",
    "os.remove",
    "shutil.move",
}
NO_FILES = {"get_convention(convention).write_text"}  # of the same name, but of no file
# Calls inside of these get the path of a temporary file, which then takes the place of the real one.
GIVING_PATHS = {"write_by", "written", "noted", "replaced"}


def direct_writes(source: str) -> list[str]:
    """Return calls that write, replace or remove a file themselves; see `storage.atomic` for what to use."""
    tree = ast.parse(source)
    given = {id(inner) for node in ast.walk(tree) if _gives_path(node) for inner in ast.walk(node)}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and "storage" in (node.module or "").split(".")
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in given:
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        opens = last == "open" and any(set(mode) & set("wax+") for mode in _modes(node))
        if name not in imported and (opens or name in WRITING or (last in WRITING and name not in NO_FILES)):
            found.append(f"line {node.lineno}: {name}")
    return found


def _gives_path(node: ast.AST) -> bool:
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items]
        return any(isinstance(call, ast.Call) and ast.unparse(call.func) in GIVING_PATHS for call in calls)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in GIVING_PATHS


def _modes(call: ast.Call) -> list[str]:
    """Return the texts of a call of `open` that may be its mode."""
    words = [*call.args[:2], *(key.value for key in call.keywords if key.arg == "mode")]
    return [
        word.value for word in words if isinstance(word, ast.Constant) and re.fullmatch("[rwaxbt+]+", str(word.value))
    ]


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


def below(path: Path) -> str:
    """The path below the package, such as `config/keys/online.py`."""
    return path.relative_to(ROOT / PACKAGE).as_posix()


def import_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return module -> modules of the package that it imports anywhere, types included; `sources` is path -> text."""
    modules = {name_of(path): path for path in sources}
    graph = {}
    for name, path in modules.items():
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        imported = imports_of(sources[path], package) & modules.keys()
        # `from .wing import file` names both; it is the file that is wanted
        graph[name] = {one for one in imported if not any(other.startswith(f"{one}.") for other in imported)} - {name}
    return graph


def name_of(path: str) -> str:
    """Return the dotted name of a file below the package."""
    return ".".join(
        [PACKAGE, *path.removesuffix(".py").removesuffix("/__init__").removesuffix("__init__").split("/")]
    ).rstrip(".")


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle: strongly connected components (Tarjan)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def wrong_wings(graph: dict[str, set[str]]) -> list[str]:
    """Return imports between wings that stay apart, and of siblings by the machinery of a room."""
    wrong = []
    for name, imported in graph.items():
        own = name.removeprefix(f"{PACKAGE}.")
        for other in sorted(one.removeprefix(f"{PACKAGE}.") for one in imported):
            apart = any(
                inside(own, wing) and any(inside(other, one) for one in others) for wing, others in APART.items()
            )
            room, _, rest = own.partition(".")
            from_machinery = rest.partition(".")[0] in MACHINERY.get(room, ())
            entry = other.startswith(f"{room}.") and other.count(".") == 1 and other.partition(".")[2] in entries(room)
            if apart or (from_machinery and entry):
                wrong.append(f"{own} imports {other}")
    return wrong


def inside(name: str, folder: str) -> bool:
    return f"{name}.".startswith(folder.replace("/", ".") + ".")


def entries(room: str) -> set[str]:
    """The names that a room with machinery offers: its files, not its wings; rewards have a registry instead."""
    if room == "rewards":
        return set()
    return {path.stem for path in (ROOT / PACKAGE / room).glob("*.py") if not path.stem.startswith("_")}


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return import_graph({below(path): path.read_text(encoding="utf-8") for path in files()})


@pytest.mark.parametrize("path", files(), ids=below)
def test_imports_follow_the_plan(path: Path) -> None:
    assert not violations(below(path), path.read_text(encoding="utf-8"))


def test_files_are_written_by_storage_alone() -> None:
    """At one stroke, synced, refused in one line: `storage.atomic`, `storage.outputs`, `storage.append_log`."""
    found = {
        below(path): writes
        for path in files()
        if not below(path).startswith(WRITES_ITSELF) and (writes := direct_writes(path.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "open(path, 'w')",
        "path.open(mode='a+')",
        "path.write_text('')",
        "json.dump(rows, file)",
        "torch.save(state, path)",
        "figure.savefig(path)",
        "os.replace(one, other)",
        "with open(path) as a, open(path, 'xb') as b:\n    pass",
    ],
)
def test_a_direct_write_is_seen(source: str) -> None:
    assert direct_writes(source)


def test_a_write_to_a_given_path_is_none() -> None:
    assert not direct_writes("open(path)\nwrite_by(path, lambda file: torch.save(state, file))")
    assert not direct_writes("with written(path, by='score') as file:\n    file.write_text('')")
    assert not direct_writes("from ..storage.atomic import write_text\nwrite_text(path, '')")


def test_no_circles(graph: dict[str, set[str]]) -> None:
    print(f"{len(graph)} files, {sum(map(len, graph.values()))} arrows, {len(circles(graph))} circles")
    assert not circles(graph)


def test_rooms_stand_on_floors() -> None:
    """No arrow leads from a lower floor to a higher one: the plan itself has no circle of rooms."""
    assert not circles({room: allowed & MAY_IMPORT.keys() for room, allowed in MAY_IMPORT.items()})


def test_wings_stay_apart(graph: dict[str, set[str]]) -> None:
    assert not wrong_wings(graph)


def test_host_names_are_replaced_in_attach_alone() -> None:
    found = {
        below(path): replaced_host_names(path.read_text(encoding="utf-8"))
        for path in files()
        if not below(path).startswith("attach/")
    }
    assert not {path: lines for path, lines in found.items() if lines}


STAGES = sorted(path.stem for path in (ROOT / PACKAGE / "stages").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_its_record_page_yaml_and_test(stage: str) -> None:
    """A new file in `stages/` is asked for everything that belongs to a stage."""
    from llamafactory_hind.config.registry import RECORDS
    from llamafactory_hind.formats.processors import PROCESSORS

    assert stage in RECORDS, f"write config/stages/{stage}.py"
    record = RECORDS[stage]
    for name in ("LABEL", "ROWS", "TAKES", "Arguments", "problems"):
        assert hasattr(record, name), f"config/stages/{stage}.py: define {name}"
    assert record.ROWS in PROCESSORS, (
        f"config/stages/{stage}.py: ROWS is {record.ROWS!r}, expected one of {[*PROCESSORS]}"
    )
    assert (ROOT / f"docs/stages/{stage}.md").is_file(), f"write docs/stages/{stage}.md"
    yamls = [
        path
        for path in (ROOT / "yaml_configs").rglob("*.yaml")
        if re.search(rf"^stage: {stage}$", path.read_text(), re.M)
    ]
    assert yamls, f"write a YAML with `stage: {stage}` under yaml_configs/"
    assert list((ROOT / "tests").rglob(f"test_{stage}_stage.py")), f"write tests/stages/test_{stage}_stage.py"


def test_every_record_has_its_stage() -> None:
    from llamafactory_hind.config.registry import STAGES as records

    assert sorted(records) == STAGES


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("losses/a.py", "import llamafactory.data"),
        ("losses/a.py", "def f():\n    from ..engines.local.scoring import token_logprobs"),
        ("rewards/a.py", "import torch"),
        ("trainers/a.py", "from ..stages import kepo"),
        ("trainers/rollouts/a.py", "from ...methods.hints import explorer"),
        ("trainers/a.py", "from llamafactory_hind.stages.kepo import run"),
        ("stages/grpo.py", "from .kepo import run"),
        ("stages/grpo.py", "from . import kepo"),
        ("pipelines/a.py", "from .. import trainers"),
        ("importers/a.py", "from ..pipelines.runner import rows"),
        ("config/a.py", "import yaml"),
        ("config/stages/a.py", "import omegaconf"),
        ("formats/texts/a.py", "from llamafactory.data import template"),
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
        (
            "stages/grpo.py",
            "from ..trainers.pairs.trainer import PairTrainer\nfrom llamafactory.data import get_dataset",
        ),
        ("stages/__init__.py", "from ..config.catalogue import Catalogue"),
        ("config/command.py", "import omegaconf"),
        ("formats/align/a.py", "from llamafactory.data import converter"),
        ("__init__.py", "__version__ = '1'"),
    ],
)
def test_the_plan_allows(path: str, source: str) -> None:
    assert not violations(path, source)


def test_a_circle_is_seen() -> None:
    sources = {
        "a/__init__.py": "",
        "a/b.py": "def f():\n    from .c import x",
        "a/c.py": "from . import d",
        "a/d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import f",
        "a/e.py": "from .b import f",
    }
    assert circles(import_graph(sources)) == [[f"{PACKAGE}.a.{name}" for name in "bcd"]]


def test_wings_that_meet_are_seen() -> None:
    sources = {
        "trainers/pairs/a.py": "from ..rollouts import b",
        "trainers/rollouts/b.py": "",
        "trainers/rollouts/__init__.py": "",
        "pipelines/runner/c.py": "from ..hindsight import x",
        "pipelines/hindsight.py": "from .runner import c",
        "engines/server/d.py": "from ..local.e import x",
        "engines/local/e.py": "from ..interface import x",
        "engines/interface.py": "",
    }
    assert wrong_wings(import_graph(sources)) == [
        "trainers.pairs.a imports trainers.rollouts.b",
        "pipelines.runner.c imports pipelines.hindsight",
        "engines.server.d imports engines.local.e",
    ]


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
