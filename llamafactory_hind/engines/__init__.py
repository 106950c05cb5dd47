"""Models that write and score; `interface.Engine` is the contract.

`local`: a model in this process; `server`: OpenAI-compatible HTTP; `teachers`: either, read from the key `teacher`. `open.py` is the
only place that picks an engine by name.
"""
