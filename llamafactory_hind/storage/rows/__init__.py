"""The one reader of rows: JSON, JSON lines, CSV, Parquet, Arrow and folders of parts, the same for every command.

- `iterate` yields rows as plain Python values, each with its file and number.
- `to_arrow` writes them as one table on disk, with types found over all rows; `infer_schema` only finds the types.
- `RowsError` tells every bad row with file, row, field, what is there, what is expected and what to do.

Values stay what was written: nothing is a date because it looks like one, no number becomes text or the reverse, no type is
guessed from the first rows. JSON text never reaches pyarrow: its own JSON reader makes broken arrays of `[null, "x"]`, which
end the interpreter when they are read.
"""

from .conversion import decode, infer_schema, to_arrow
from .files import list_files
from .passes import Converted
from .problems import OnBad, Place, RowProblem, RowsError
from .reading import Row, iterate
from .segments import json_columns_of


__all__ = [
    "Converted",
    "OnBad",
    "Place",
    "Row",
    "RowProblem",
    "RowsError",
    "decode",
    "infer_schema",
    "iterate",
    "json_columns_of",
    "list_files",
    "to_arrow",
]
