"""Files that survive a kill: written at one stroke, or appended line by line and synced.

`files` replaces whole files, `append_log` and `journal` grow line by line, `dataset_info` registers
data sets, `completions` packs what models wrote, `rows` reads rows of every kind of file. Digests
name what a result depends on. Imports no other folder than `config`, no torch and no host.
"""
