"""Tables of numbers as given by users: made into arrays, bad cells named by row and column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import DataError

__all__ = ["finite_table", "float_table", "refuse_cells"]

FloatArray = npt.NDArray[np.float64]


def float_table(values: object, name: str) -> FloatArray:
    """Return real numbers as a (rows, columns) float64 array; shared if it already is one.

    Raises
    ------
    DataError
        Not numbers, complex, or not two-dimensional.
    """
    try:
        given = np.asarray(values)
        table = None if np.iscomplexobj(given) else np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        table = None
    if table is None or table.ndim != 2:
        raise DataError(
            "not a table of real numbers" if table is None else f"has shape {table.shape}",
            field=name,
            allowed="numbers of shape (samples, columns)",
        )
    return table


def finite_table(
    values: object,
    n_columns: int | None = None,
    name: str = "features",
    column_names: Sequence[str] | None = None,
) -> FloatArray:
    """Return `float_table`, all of whose cells are finite, with ``n_columns`` where given.

    Raises
    ------
    DataError
        As `float_table`; no row, another number of columns, or a cell that is not finite.
    """
    table = float_table(values, name)
    if 0 in table.shape or (n_columns is not None and table.shape[1] != n_columns):
        raise DataError(
            f"has shape {table.shape}",
            field=name,
            allowed=f"at least one row, {'one column' if n_columns is None else n_columns}"
            f"{' or more' if n_columns is None else ' columns'}",
        )
    # The sum is not finite if a value is not (or where it overflows): in the usual case this
    # spares a mask as large as the table.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(table.sum())
    if suspicious:
        refuse_cells(
            ~np.isfinite(table), table, "is not finite", "finite numbers", name, column_names
        )
    return table


def refuse_cells(
    mask: npt.NDArray[np.bool_],
    table: FloatArray,
    problem: str,
    allowed: str | None = None,
    name: str = "features",
    column_names: Sequence[str] | None = None,
) -> None:
    """Raise a `DataError` about the first cell in ``mask``, if there is one."""
    bad = np.argwhere(mask)
    if len(bad):
        row, column = (int(i) for i in bad[0])
        named = "" if column_names is None else f" ({column_names[column]})"
        raise DataError(
            f"row {row}, column {column}{named} {problem}",
            field=name,
            value=float(table[row, column]),
            allowed=allowed,
        )
