"""On-policy distillation, token by token.

`divergence` compares student and teacher (GKD), `gate` says which completions a teacher's
distributions teach (Knowledge-Enhanced PO), `steps` weights the lines of a text (SOD).
"""
