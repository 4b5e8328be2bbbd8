"""Data sets from CSV files with named columns."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import final

import numpy as np
from pydantic import Field

from eqp_hw.data.dataset import Dataset, IntArray
from eqp_hw.data.source import DatasetSource
from eqp_hw.errors import DataError

__all__ = ["CsvSource", "parse_csv"]


@final
class CsvSource(DatasetSource):
    """A CSV file whose first line names the columns."""

    path: str | Path = Field(description="the file; UTF-8")
    label: str = Field(description="column of the class, text or number")
    features: list[str] | None = Field(
        default=None, min_length=1, description="columns of the features; all others if left out"
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="between cells")
    feature_range: tuple[float, float] | None = Field(
        default=None,
        strict=False,  # TOML and JSON have lists only
        description="fixed range [low, high] of all features; learned from the data if left out",
    )

    def load(self, base: Path) -> Dataset:
        """Read the file; classes are numbered in ascending order of their labels."""
        path = base / Path(self.path).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror or error}", source=path, field="path"
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"is not UTF-8 text (byte {error.start})", source=path, allowed="UTF-8"
            ) from error
        return parse_csv(
            text,
            path,
            label=self.label,
            features=self.features,
            delimiter=self.delimiter,
            feature_range=self.feature_range,
        )


def parse_csv(
    text: str,
    source: Path,
    *,
    label: str,
    features: list[str] | None = None,
    delimiter: str = ",",
    feature_range: tuple[float, float] | None = None,
) -> Dataset:
    """Parse CSV text; ``source`` names it in messages. The other arguments: see `CsvSource`.

    Raises
    ------
    DataError
        A missing or doubled column, a ragged row, a cell that is no finite number, an empty
        label, fewer than two rows or than two classes; named by line and column.
    """
    header, rows = _read_rows(text, source, delimiter)
    label_column = _find(header, label, source, "label")
    names = [name for name in header if name != label] if features is None else features
    if not names:
        raise DataError("there is no feature column beside the label", source=source)
    if label in names:
        raise DataError("the label is also a feature", source=source, field="label", value=label)
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise DataError(
            "a column is listed twice", source=source, field="features", value=repeated[0]
        )
    columns = [_find(header, name, source, "features") for name in names]
    if len(rows) < 2:
        raise DataError(f"has {len(rows)} rows of data", source=source, allowed="at least two rows")
    table = np.empty((len(rows), len(columns)))
    for i, (line, cells) in enumerate(rows):
        for j, column in enumerate(columns):
            table[i, j] = _finite(cells[column], source, line, header[column])
    labels, classes = _number_classes(rows, label_column, source, label)
    return Dataset(
        source.stem,
        table,
        labels,
        feature_names=tuple(names),
        class_names=classes,
        feature_range=feature_range,
        description=f"{source.name}: {len(rows)} samples, {len(names)} features, "
        f"{len(classes)} classes",
    )


def _read_rows(
    text: str, source: Path, delimiter: str
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows, each with its line in the file; blank lines skipped."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (csv.Error, ValueError, TypeError) as error:
        raise DataError(f"is not CSV: {error}", source=source) from error
    if not lines:
        raise DataError("is empty", source=source, allowed="a line of column names, then rows")
    header, rows = lines[0][1], lines[1:]
    for position, name in enumerate(header):
        if not name:
            raise DataError(f"column {position + 1} has no name", source=source, field="line 1")
        if name in header[:position]:
            raise DataError("a column name stands twice", source=source, field="line 1", value=name)
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"has {len(cells)} cells, the header has {len(header)}",
                source=source,
                field=f"line {line}",
            )
    return header, rows


def _find(header: list[str], name: str, source: Path, field: str) -> int:
    if name not in header:
        raise DataError(
            "there is no such column",
            source=source,
            field=field,
            value=name,
            allowed=f"{', '.join(header)}; cells apart by another sign: set delimiter",
        )
    return header.index(name)


def _number(cell: str) -> float | None:
    # float() also takes Python's 1_000, which no one means in a CSV file.
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _finite(cell: str, source: Path, line: int, column: str) -> float:
    value = _number(cell)
    if value is None or not math.isfinite(value):
        raise DataError(
            "not a number" if value is None else "not finite",
            source=source,
            field=f"line {line}, column {column!r}",
            value=cell,
            allowed="finite numbers with a decimal point",
        )
    return value


def _number_classes(
    rows: list[tuple[int, list[str]]], column: int, source: Path, label: str
) -> tuple[IntArray, tuple[str, ...]]:
    """Order classes by value if all labels are numbers (1 and 1.0 agree), else as text."""
    texts = [cells[column] for _, cells in rows]
    for (line, _), cell in zip(rows, texts, strict=True):
        if not cell or cell.lower() == "nan":
            raise DataError(
                "the label is missing",
                source=source,
                field=f"line {line}, column {label!r}",
                value=cell,
            )
    numbers = [_number(cell) for cell in texts]
    values = [number for number in numbers if number is not None and math.isfinite(number)]
    if len(values) == len(texts):
        found, labels = np.unique(np.array(values), return_inverse=True)
        classes = tuple(repr(v + 0.0).removesuffix(".0") for v in found.tolist())
    else:
        names, labels = np.unique(np.array(texts), return_inverse=True)
        classes = tuple(names.tolist())
    if len(classes) < 2:
        raise DataError(
            f"all {len(rows)} rows have the same label",
            source=source,
            field=f"column {label!r}",
            value=classes[0],
            allowed="at least two classes",
        )
    return labels.astype(np.int64), classes
