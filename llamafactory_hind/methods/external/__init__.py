"""Texts of other models in a group of rollouts (Vision-EKIPL, LUFFY).

`actions` reads them from rows, `live` asks a teacher for them, `candidates` is what both give,
`selection` decides which enter the group, `ratio` is their importance weight, `metrics` counts them.
"""
