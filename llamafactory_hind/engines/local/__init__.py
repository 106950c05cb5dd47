"""A model in this process, behind the host's template and processor.

`weights` loads, `encoding` makes tokens, `engine` writes and scores. `decoding`, `sampling` and
`cache` are how it writes; `scoring`, `prefixes` and `packing` how it scores; `towers` computes a
picture once.
"""
