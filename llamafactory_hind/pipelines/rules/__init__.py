"""Pure functions over texts and numbers: parse, name, pair, select, vote. Imports no pipeline and no model."""
