"""The types that rows have in a table, how two of them meet, and how values of one become another without loss.

All readers share nine: null, true/false, int64, uint64, double, text, bytes, list, object. A missing field is null.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc


MOST_LEVELS = 50  # Arrow's files hold at most 64 levels of types
MOST_FIELDS = 1000  # an object with ever new keys is no record; a table would get a column for each
JSON_MARK = {b"llamafactory_hind": b"json"}  # metadata of a column whose values are kept as JSON text


def unify(left: pa.DataType, right: pa.DataType, path: str, conflicts: list[str]) -> pa.DataType:
    """Return the type that holds the values of both.

    Args:
        left: a type; its fields come first.
        right: another.
        path: of the value, for conflicts; entries of a list are `path[]`.
        conflicts: gets the paths at which no type holds both.
    """
    if left.equals(right) or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if is_number(left) and is_number(right):
        return pa.float64() if pa.float64() in (left, right) else pa.uint64()
    if pa.types.is_list(left) and pa.types.is_list(right):
        return pa.list_(unify(left.value_type, right.value_type, f"{path}[]", conflicts))
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        fields = {field.name: field.type for field in left}
        for field in right:
            below = f"{path}.{field.name}" if path else field.name
            other = fields.get(field.name, pa.null())
            fields[field.name] = unify(other, field.type, below, conflicts)
        if len(fields) > MOST_FIELDS:
            conflicts.append(path)
            return left
        return pa.struct(list(fields.items()))
    conflicts.append(path)
    return left


def is_number(kind: pa.DataType) -> bool:
    """Say whether it is one of the three types of numbers."""
    return kind in (pa.int64(), pa.uint64(), pa.float64())


def is_record(kind: pa.DataType, level: int = 1) -> bool:
    """Say whether a type nests no deeper, and has no wider objects, than a table should have."""
    if pa.types.is_list(kind):
        return level < MOST_LEVELS and is_record(kind.value_type, level + 1)
    if pa.types.is_struct(kind):
        is_small = level < MOST_LEVELS and kind.num_fields <= MOST_FIELDS
        return is_small and all(is_record(field.type, level + 1) for field in kind)
    return True


def whole_number_bounds(array: pa.Array, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Yield (path, lowest, highest) of the whole numbers in an array."""
    if pa.types.is_string(array.type):
        return  # the usual case
    if pa.types.is_list(array.type):
        yield from whole_number_bounds(array.values, (*path, "[]"))
    elif pa.types.is_struct(array.type):
        for index, field in enumerate(array.type):
            if not pa.types.is_string(field.type):
                yield from whole_number_bounds(array.field(index), (*path, field.name))
    elif pa.types.is_integer(array.type):
        low, high = pc.call_function("min_max", [array]).values()
        if low.is_valid:
            yield path, low.as_py(), high.as_py()


def holds(kind: pa.DataType, path: tuple[str, ...], low: int, high: int) -> bool:
    """Say whether a type holds whole numbers at `path` below it exactly."""
    for step in path:
        kind = kind.value_type if pa.types.is_list(kind) else kind.field(step).type
    if pa.types.is_floating(kind):
        return low >= -(2**53) and high <= 2**53
    return low >= 0 if pa.types.is_uint64(kind) else high < 2**63


def fit(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the values of an array in a type that `unify` made of its own and others.

    Raises:
        pa.ArrowInvalid: a whole number is not exact in it.
    """
    if array.type.equals(kind):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if pa.types.is_list(kind):
        return rebuild_list(array, fit(array.values, kind.value_type))
    if pa.types.is_struct(kind):
        places = {field.name: index for index, field in enumerate(array.type)}
        children = [
            fit(array.field(places[field.name]), field.type)
            if field.name in places
            else pa.nulls(len(array), field.type)
            for field in kind
        ]
        return rebuild_struct(array, children, kind)
    return array.cast(kind, safe=True)


def rebuild_list(array: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Return a list array with other values, as many as `array.values`."""
    kind = pa.list_(values.type)
    return pa.Array.from_buffers(kind, len(array), array.buffers()[:2], -1, array.offset, [values])


def rebuild_struct(array: pa.StructArray, children: list[pa.Array], kind: pa.DataType) -> pa.StructArray:
    """Return a struct array with other children, of its own length and without its offset."""
    mask = array.is_null() if array.null_count else None
    if not children:
        return pa.array([None if is_null else {} for is_null in array.is_null().to_pylist()], type=kind)
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
