"""Aligned rows to token ids, as the host makes them.

A file here that defines `PROCESSOR` is a kind of rows: its name is what a stage's `ROWS` names. `PROCESSORS` has all of them.
"""

from llamafactory.data.processor.processor_utils import DatasetProcessor

from ...config.catalogue import Catalogue


_FILES = Catalogue(__name__, __path__, "kind of rows")
_MODULES = {name: _FILES.get(name) for name in _FILES.names()}
PROCESSORS: dict[str, type[DatasetProcessor]] = {
    name: module.PROCESSOR for name, module in _MODULES.items() if hasattr(module, "PROCESSOR")
}
