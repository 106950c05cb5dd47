"""Models that write and score, one contract: `interface.Engine`, for rollouts, teachers and pipelines.

- `local`: a model in this process.
- `server`: OpenAI-compatible HTTP; never imports `local`, so it needs no torch.
- `teachers`: either, read from the key `teacher`.
- `seeds` names the random numbers of a request.
"""
