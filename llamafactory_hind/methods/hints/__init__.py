"""Completions written under a hint, where the policy finds nothing by itself (Knowledge-Enhanced PO, arXiv 2602.00400).

`prompts` renders what the teacher and the student are shown, `explorer` asks, writes and accepts,
`candidates` puts what was accepted into the group, `options` holds the keys.
"""
