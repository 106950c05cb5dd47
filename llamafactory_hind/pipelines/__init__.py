"""Rows in, rows out: `llamafactory-cli synth`. A file here is a pipeline; its name is what `pipeline:` takes.

`runner/pipeline.py` says what a file defines; read `hindsight.py` first.
`runner/` runs them (read, resume, call, journal, write); `rules/` are pure functions over texts and numbers.
"""

from ..config.catalogue import Catalogue


PIPELINES = Catalogue(__name__, __path__, "pipeline")
pipeline_names, get_pipeline = PIPELINES.names, PIPELINES.get
