"""Every error that eqp_hw raises on purpose.

A message names where the trouble is (file, field, value), what is allowed, and so what to
do next. The command line prints the message alone and exits with code 2; anything that is
not an `EqpError` is a bug and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "CapabilityError",
    "ConfigurationError",
    "DataError",
    "EqpError",
    "LimitError",
    "NetworkError",
    "ParameterError",
    "RecordError",
    "SubstrateError",
    "UnavailableError",
    "ZeroModeError",
]


class EqpError(Exception):
    """Base of all errors of this package; the text is meant for the user."""


class ConfigurationError(EqpError):
    """A value given by the user cannot be used.

    Parameters
    ----------
    problem
        What is wrong, in one sentence.
    source
        File (or other origin) that holds the value.
    field
        Dotted name of the value, for instance ``optimiser.learning_rate``.
    value
        The value as given.
    allowed
        What may stand there instead.
    """

    def __init__(
        self,
        problem: str,
        *,
        source: str | Path | None = None,
        field: str | None = None,
        value: object = ...,
        allowed: str | None = None,
    ) -> None:
        self.problem = problem
        self.source = source
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(str(self))

    def with_source(self, source: str | Path) -> ConfigurationError:
        """Return the same error, said of the file ``source``."""
        self.source = source
        return self

    def __str__(self) -> str:
        place = "" if self.source is None else f"{self.source}: "
        if self.field is not None:
            place += self.field if self.value is ... else f"{self.field} = {self.value!r}"
            place += ": "
        tail = "" if self.allowed is None else f" (allowed: {self.allowed})"
        return f"{place}{self.problem}{tail}"


class LimitError(ConfigurationError):
    """A drive outside a limit, or not finite; refused before the first byte."""


class NetworkError(ConfigurationError):
    """The network graph cannot be trained as asked (no input, unreachable node, ...)."""


class ZeroModeError(NetworkError):
    """Some phases may turn together at no cost, so that no equilibrium is singled out."""


class DataError(ConfigurationError):
    """A data set is unreadable, inconsistent, or does not fit the network."""


class ParameterError(ConfigurationError):
    """A coupling or bias field is not finite or lies outside the substrate's range."""


class CapabilityError(ConfigurationError):
    """The substrate cannot do what an estimator or experiment asks of it."""


class RecordError(EqpError):
    """A run file cannot be created, read or continued."""


class SubstrateError(EqpError):
    """A substrate failed, or was used out of order."""


class UnavailableError(EqpError):
    """An optional part is not installed; the message says how to get it."""
