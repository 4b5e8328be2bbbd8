"""Where an experiment was written, so that messages can name it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from eqp_hw.errors import ConfigurationError

__all__ = ["Origin", "renamed_fields"]


@final
@dataclass(frozen=True)
class Origin:
    """Source of an experiment.

    Attributes
    ----------
    base
        Folder that relative data paths start from.
    source
        File name, for messages; None for experiments made in Python.
    text
        The file as the user wrote it.
    overrides
        ``--set`` overrides by dotted key.
    """

    base: Path
    source: str | None = None
    text: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short name, fit for a file name."""
        return "experiment" if self.source is None else Path(self.source).stem

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Add the file, or the ``--set`` that is to blame, to errors that name no source."""
        try:
            yield
        except ConfigurationError as error:
            source = self._source_of(error.field)
            if error.source is None and source is not None:
                error.with_source(source)
            raise

    def _source_of(self, name: str | None) -> str | None:
        for key, text in self.overrides.items():
            if name is not None and (name == key or name.startswith((f"{key}.", f"{key}["))):
                return f"--set {text}"
        return self.source


@contextmanager
def renamed_fields(names: Mapping[str, str]) -> Iterator[None]:
    """Give fields in errors the names that they have in an experiment file.

    Parameters
    ----------
    names
        Replacement by leading part of the dotted name.
    """
    try:
        yield
    except ConfigurationError as error:
        head, dot, rest = (error.field or "").partition(".")
        if head in names:
            error.field = names[head] + dot + rest
        raise
