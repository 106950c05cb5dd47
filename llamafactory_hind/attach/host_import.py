"""How the finder of `bootstrap` imports a host module: as the other finders would, then our hooks. Standard library only."""

import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


HOST = "llamafactory"
SUPPORTED = ((0, 9, 4), (0, 9, 6))  # from, up to but not including
SWITCH = "LLAMAFACTORY_HIND_DISABLE=1"


class AttachError(RuntimeError):
    """A hook failed while the host was being imported. Not an ImportError: nobody may take it for a missing package."""

    keeps_traceback = True  # it is a fault of this package or of the host, not of what the user wrote


class HookedLoader:
    """A loader that calls `then(module)` after the module has run; everything else is the original loader's."""

    def __init__(self, loader: Any, then: Callable[[ModuleType], None]) -> None:
        self.loader, self.then = loader, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as the original loader does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module under its original loader, then apply what waits for it."""
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.then(module)


def find_spec(own: Any, fullname: str, path: Any, target: Any) -> ModuleSpec | None:
    """Return the spec the finders other than `own` give, its loader wrapped; None for a module without hooks."""
    if fullname != HOST and fullname not in (own.hooks or ()):
        return None
    others = (finder for finder in sys.meta_path if finder is not own and hasattr(finder, "find_spec"))
    spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
    if spec is None or spec.origin is None or not hasattr(spec.loader, "exec_module"):
        return spec  # absent, or a mere folder of that name
    if fullname == HOST and not own.asked:  # looking for the host's files finds this finder again
        own.asked = True
        from pathlib import Path

        from .early import answer

        answer(Path(spec.origin).parent, is_supported)
    spec.loader = HookedLoader(spec.loader, lambda module: attach(own) if fullname == HOST else apply(own, module))
    return spec


def attach(own: Any) -> None:
    """Read the hooks for the host that has just been imported, or warn that it is not supported."""
    version = getattr(sys.modules[HOST], "__version__", None)
    own.hooks = {}
    if is_supported(version):
        from .hooks import hooks_by_module

        own.hooks = hooks_by_module(version_tuple(version))
    elif os.environ.get("LOCAL_RANK", "0") == "0":
        low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
        sys.stderr.write(
            f"[llamafactory_hind] WARNING: LLaMA-Factory {version} is installed, this release supports >={low},<{high}: "
            f"nothing was attached and LLaMA-Factory is unchanged. Install a supported version, or set "
            f"{SWITCH} to silence this line.\n"
        )


def apply(own: Any, module: ModuleType) -> None:
    """Apply a module's hooks.

    Raises:
        AttachError: a hook failed; the import of the host module fails with it.
    """
    for hook in own.hooks[module.__name__]:
        try:
            hook.load()(module)
        except Exception as error:
            raise AttachError(
                f"llamafactory_hind could not attach to `{hook.module}.{hook.name}` ({hook.why}): {error!r}. "
                f"Set {SWITCH} to run LLaMA-Factory without it."
            ) from error


def version_tuple(version: object) -> tuple[int, ...]:
    """Return the leading numbers of a version: '0.9.6.dev0' -> (0, 9, 6); () if there are none."""
    numbers: list[int] = []
    for part in str(version).split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def is_supported(version: object) -> bool:
    """Tell whether this release attaches to that host version."""
    low, high = SUPPORTED
    return low <= version_tuple(version) < high
