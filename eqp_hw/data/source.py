"""The abstract source of a data set: its options, validated, and how to load it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from eqp_hw.data.dataset import Dataset

__all__ = ["DatasetSource"]


class DatasetSource(BaseModel, ABC):
    """Options of one kind of data set. The fields of a subclass are its options."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @abstractmethod
    def load(self, base: Path) -> Dataset:
        """Load the data set.

        Parameters
        ----------
        base
            Folder that relative paths in the options start from.

        Raises
        ------
        DataError
            The data are unreadable or inconsistent.
        UnavailableError
            A library that is not installed is needed.
        """
