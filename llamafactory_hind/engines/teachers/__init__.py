"""Other models that help a student: read from the key `teacher`, opened, asked.

`plan` reads the key, `pool` opens what it names, `local` and `server` are the two kinds, `tokenization`
proves that teacher and student share their tokens, `cache` keeps what teachers wrote, `run` is what
a stage holds.
"""
