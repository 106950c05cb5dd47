"""The `.pth` and the bootstrap: present in every install, invisible until the host is imported, loud when it fails."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from llamafactory_hind.attach import host_import


ROOT = Path(__file__).resolve().parents[2]
PTH = ROOT / "llamafactory_hind" / "attach" / "llamafactory_hind_attach.pth"
COUNT_FINDERS = "print(sum(type(finder).__name__ == 'HostFinder' for finder in sys.meta_path))"
FINDERS = "import sys; " + COUNT_FINDERS
USAGE = "from llamafactory.launcher import USAGE; print(USAGE)"  # a hooked name of a host module that loads fast


def bare_python(folder: Path, package_at: Path) -> Path:
    """Make an interpreter without any package but our `.pth`, which looks for our package at a place; return it."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "_where.pth").write_text(f"{package_at}\n")
    (site / PTH.name).write_text(PTH.read_text())
    return folder / "bin" / "python"


def run(python: Path | str, code: str, **options) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process."""
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_the_pth_is_at_the_root_of_the_wheel(tmp_path: Path, version: str) -> None:
    """In wheel and editable installs alike; pip and uv unpack what is in here."""
    from hatchling.builders.wheel import WheelBuilder

    wheel = next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=[version])))
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.endswith(PTH.name)] == [PTH.name]
        assert archive.read(PTH.name).decode() == PTH.read_text()


def test_this_environment_attaches_in_every_process() -> None:
    assert run(sys.executable, FINDERS).stdout == "1\n"


def test_nothing_but_the_standard_library_is_loaded(tmp_path: Path) -> None:
    loaded = set(run(bare_python(tmp_path / "bare", ROOT), "import sys; print(*sys.modules)").stdout.split())
    ours = {"llamafactory_hind", "llamafactory_hind.attach", "llamafactory_hind.attach.bootstrap"}
    assert ours <= loaded
    assert {name.partition(".")[0] for name in loaded - ours} <= {
        *sys.stdlib_module_names,
        "__main__",
        "sitecustomize",
    }
    assert not loaded & {
        "dataclasses",
        "functools",
        "importlib.metadata",
        "importlib.util",
        "inspect",
        "typing",
    }  # slow


def test_disabled_means_absent(run_python) -> None:
    off = {"LLAMAFACTORY_HIND_DISABLE": "1"}
    assert run_python("-c", FINDERS, env=off).stdout == "0\n"
    usage = run_python("-c", USAGE, env=off).stdout
    assert "export" in usage
    assert "synth" not in usage
    assert "synth" in run_python("-c", USAGE, env={"LLAMAFACTORY_HIND_DISABLE": "0"}).stdout


def test_without_the_host_nothing_happens(tmp_path: Path) -> None:
    python = bare_python(tmp_path / "bare", ROOT)
    quiet = run(python, "pass")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert "ModuleNotFoundError: No module named 'llamafactory'" in run(python, "import llamafactory").stderr
    assert run(python, "import importlib.util as u; print(u.find_spec('llamafactory'))").stdout == "None\n"


def test_a_folder_of_the_hosts_name_is_not_the_host(tmp_path: Path) -> None:
    (tmp_path / "llamafactory").mkdir()
    done = run(bare_python(tmp_path / "bare", ROOT), "import llamafactory", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unsupported_host_is_left_alone_with_one_warning(run_python) -> None:
    narrow = "import llamafactory_hind.attach.host_import as ours; ours.SUPPORTED = ((9, 0), (9, 1)); "
    done = run_python("-c", narrow + USAGE)
    assert done.returncode == 0, done.stderr
    assert "export" in done.stdout
    assert "synth" not in done.stdout
    assert done.stderr.count("[llamafactory_hind] WARNING") == 1
    assert ">=9.0,<9.1" in done.stderr
    assert run_python("-c", narrow + USAGE, env={"LOCAL_RANK": "1"}).stderr == ""  # once a machine


def test_an_error_in_a_hook_is_loud_and_says_where(run_python) -> None:
    broken = (
        "import llamafactory_hind.attach.hooks as hooks; "
        "hooks.HOOKS = (hooks.Hook('llamafactory.launcher', 'SOME_NAME', 'a reason', 'nowhere:nothing'),); "
    )
    done = run_python("-c", broken + USAGE)
    assert done.returncode != 0
    assert "AttachError" in done.stderr
    assert "llamafactory.launcher.SOME_NAME" in done.stderr
    assert "LLAMAFACTORY_HIND_DISABLE=1" in done.stderr
    assert run_python("-c", broken).returncode == 0


def test_a_late_attach_is_refused(run_python) -> None:
    code = "import llamafactory, llamafactory_hind.attach.bootstrap as ours; ours.install()"
    done = run_python("-c", "import sys; sys.meta_path.pop(0); " + code)
    assert "RuntimeError: llamafactory was imported before" in done.stderr


def test_a_removed_checkout_is_silent_and_a_broken_one_is_not_fatal(tmp_path: Path) -> None:
    done = run(bare_python(tmp_path / "gone", tmp_path / "no-such-folder"), "print('fine')")
    assert (done.stdout, done.stderr) == ("fine\n", "")

    attach = tmp_path / "copy" / "llamafactory_hind" / "attach"
    attach.mkdir(parents=True)
    for package in (attach, attach.parent):
        (package / "__init__.py").touch()
    (attach / "bootstrap.py").write_text("raise RuntimeError('broken on purpose')")
    done = run(bare_python(tmp_path / "broken", tmp_path / "copy"), "print('fine')")
    assert (done.returncode, done.stdout) == (0, "fine\n")
    assert "broken on purpose" in done.stderr


def test_a_checkout_on_the_path_does_not_clash_with_an_install(run_python) -> None:
    on_path = {"PYTHONPATH": str(ROOT)}
    again = "sys.modules.pop('llamafactory_hind.attach.bootstrap'); import llamafactory_hind.attach.bootstrap; "
    assert run_python("-c", "import sys; " + again + COUNT_FINDERS, env=on_path).stdout == "1\n"
    # Without the .pth, a checkout changes nothing by being imported.
    rooms = "import sys, llamafactory_hind.attach, llamafactory_hind.config; "
    assert run_python("-S", "-c", rooms + COUNT_FINDERS, env=on_path).stdout == "0\n"


@pytest.mark.parametrize("version", ["0.9.4", "0.9.5", "0.9.5.post1"])
def test_supported_versions(version: str) -> None:
    assert host_import.is_supported(version)


@pytest.mark.parametrize("version", ["0.9.3", "0.9.6.dev0", "0.10.0", "1.0", "unknown", None])
def test_unsupported_versions(version: str | None) -> None:
    assert not host_import.is_supported(version)
