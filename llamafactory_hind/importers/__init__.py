"""Released data sets to `hindsight` or `rollout` rows: `python -m llamafactory_hind.importers NAME ...`.

A file here is a family of data sets; it defines `SUMMARY`, `add_arguments(parser)` and `read_entries(arguments)`; read `okvqa.py`
first. The machinery is in `reading/`.
"""

from ..config.catalogue import Catalogue


IMPORTERS = Catalogue(__name__, __path__, "importer")
importer_names, get_importer = IMPORTERS.names, IMPORTERS.get
