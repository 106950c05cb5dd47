"""Started in every Python process by the `.pth` file: one finder that waits for LLaMA-Factory.

Kept this small because everybody's `python` runs it: standard library only, nothing else loaded until `llamafactory` is.
The host's processes (torchrun, Ray, LLaMA Board) all start a fresh Python, so every one of them passes here.
"""

import os
import sys


class HostFinder:
    """Finds `llamafactory` modules as the other finders do, and has `hooks.HOOKS` applied once they have run."""

    hooks = None  # module name -> hooks; None until the host is imported, empty if it is not supported
    asked = False  # whether the command line was looked at

    def find_spec(self, fullname, path=None, target=None):
        """Return None for a module that is not ours to touch, as all are but the host's."""
        if fullname.partition(".")[0] != "llamafactory":
            return None
        from .host_import import find_spec

        return find_spec(self, fullname, path, target)


def install():
    """Put one finder at the head of `sys.meta_path`, unless one is there or LLAMAFACTORY_HIND_DISABLE forbids it."""
    if os.environ.get("LLAMAFACTORY_HIND_DISABLE", "0").lower() in ("1", "true", "y", "yes", "on"):
        return
    if "HostFinder" in [type(finder).__name__ for finder in sys.meta_path]:
        return
    if "llamafactory" in sys.modules:
        raise RuntimeError(
            "llamafactory was imported before llamafactory_hind.attach.bootstrap, so its modules already hold the old "
            "names. Import the bootstrap first, or install the package (`pip install -e .`): its .pth file does so."
        )
    sys.meta_path.insert(0, HostFinder())
    if "LLAMAFACTORY_HIND_ERROR_FILE" in os.environ:  # started by our launcher: torchrun, or one of its processes
        from .errors import quiet_torchrun
        from .orphans import end_with_parent

        quiet_torchrun()
        end_with_parent()


install()
