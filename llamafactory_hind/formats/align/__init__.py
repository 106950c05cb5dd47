"""Data sets as the host loads them -> checked rows in the host's columns; needs LLaMA-Factory.

`dataset` does it, `columns` names the columns and their types, `locating` finds the file and number
of a row, `odd_types` explains a file that is no table.
"""
