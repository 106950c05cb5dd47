"""What runs every pipeline: read rows, resume, call, journal, write. Imports no pipeline.

`arguments` holds the shared keys, `command` reads them, `run` is the command, `work` the loop over
rows; `engines` opens models and `calls` records what they were paid for.
"""
