"""Figures and tables of a run as files for a paper or another program."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from eqp_hw.errors import ConfigurationError, RecordError
from eqp_hw.records.failures import record_failures
from eqp_hw.records.reader import RunData

from .columns import Columns
from .figures import run_figures
from .plots.canvas import FORMATS, encode

__all__ = ["save_figures", "save_tables"]


def save_figures(run: RunData, folder: str | Path, file_format: str = "pdf") -> list[Path]:
    """Write each figure of a run into ``folder``, which is made if it does not exist.

    Parameters
    ----------
    run
        From `read_run`.
    folder
        Where; files of the same name are replaced.
    file_format
        "png", "svg" or "pdf".

    Returns
    -------
    The files.

    Raises
    ------
    ConfigurationError
        An unknown format.
    UnavailableError
        matplotlib is not installed.
    RecordError
        A file cannot be written.
    """
    if file_format not in FORMATS:
        raise ConfigurationError(
            "cannot be written", field="format", value=file_format, allowed=", ".join(FORMATS)
        )
    target = _folder(folder)
    written = []
    for figure in run_figures(run):
        file = target / f"{figure.name}.{file_format}"
        content = encode(figure.draw(), file_format, 200.0)
        with record_failures(file, "the figure cannot be written"):
            file.write_bytes(content)
        written.append(file)
    return written


def save_tables(run: RunData, folder: str | Path) -> list[Path]:
    """Write steps and epochs as ``steps.csv`` and ``epochs.csv``.

    Numbers are written so that they read back to the same bits.

    Returns
    -------
    The files.

    Raises
    ------
    RecordError
        A file cannot be written.
    """
    target = _folder(folder)
    written = []
    for name, columns in (("steps", run.steps), ("epochs", run.epochs)):
        file = target / f"{name}.csv"
        with record_failures(file, "the table cannot be written"):
            file.write_text(_csv(columns), encoding="utf-8")
        written.append(file)
    return written


def _csv(columns: Columns) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    return text.getvalue()


def _folder(folder: str | Path) -> Path:
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise RecordError(f"{target}: not a folder")
    with record_failures(target, "the folder cannot be made"):
        target.mkdir(parents=True, exist_ok=True)
    return target
