"""Writing report pages from commands."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from eqp_hw.errors import ConfigurationError, UnavailableError

__all__ = ["check_report", "save_report"]


def check_report(path: Path) -> None:
    """Refuse a name that is not one of a page, so that no run file is ever overwritten by one.

    Raises
    ------
    ConfigurationError
        The name does not end in .html, or its folder does not exist.
    UnavailableError
        matplotlib or jinja2 is not installed: better said before training than after.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(
            "not the name of a page",
            field="--report",
            value=str(path),
            allowed="a name that ends in .html",
        )
    if not path.parent.is_dir():
        raise ConfigurationError(
            "the folder does not exist",
            field="--report",
            value=str(path),
            allowed="an existing folder",
        )
    for library in ("matplotlib", "jinja2"):
        if find_spec(library) is None:
            raise UnavailableError(f"the report needs {library}: pip install 'eqp_hw[plots]'")


def save_report(run_file: Path, path: Path) -> None:
    """Write the report page of a run file.

    Raises
    ------
    UnavailableError
        matplotlib or jinja2 is not installed.
    """
    from eqp_hw.views.report import write_report

    write_report(run_file, path)
