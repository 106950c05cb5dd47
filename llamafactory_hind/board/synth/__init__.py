"""What the tab of `synth` and `score` shows: fields of a pipeline, a dry run, progress, results. No page is built here."""
