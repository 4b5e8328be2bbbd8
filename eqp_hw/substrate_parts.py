"""Small parts that substrates are composed of: whether one is open, and the states it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.substrate import StateToken

__all__ = ["Latch", "StoredStates", "check_repeats", "check_replicas"]

StateT = TypeVar("StateT")


def check_repeats(repeats: int) -> None:
    """See that there is something to read.

    Raises
    ------
    SubstrateError
        Less than one read.
    """
    if repeats < 1:
        raise SubstrateError(f"repeats = {repeats}: at least one read is needed")


def check_replicas(n_fields: int, replicas: int) -> None:
    """See that there is a replica for each nudge.

    Raises
    ------
    CapabilityError
        There are fewer.
    """
    if n_fields > replicas:
        raise CapabilityError(
            "there are fewer replicas than nudges",
            field="capabilities.replicas",
            value=n_fields,
            allowed=f"at most {replicas}",
        )


@final
class Latch:
    """Open until it is closed.

    Parameters
    ----------
    name
        Of the substrate in the error, ``the emulator``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._closed = False

    def require_open(self) -> None:
        """See that the substrate is open.

        Raises
        ------
        SubstrateError
            It was closed.
        """
        if self._closed:
            raise SubstrateError(f"{self._name} was closed")

    def close(self) -> None:
        """Close it for good."""
        self._closed = True


@final
class StoredStates(Generic[StateT]):
    """States by their tokens; no token is ever given twice."""

    def __init__(self) -> None:
        self._stored: dict[int, StateT] = {}
        self._tokens = 0

    def store(self, state: StateT) -> StateToken:
        """Keep a state."""
        self._tokens += 1
        self._stored[self._tokens] = state
        return StateToken(self._tokens)

    def recall(self, token: StateToken) -> StateT:
        """Return a stored state.

        Raises
        ------
        SubstrateError
            The token is unknown or was forgotten.
        """
        if token.number not in self._stored:
            raise SubstrateError(
                "this stored state is unknown or was forgotten: states live until the next "
                "set_inputs"
            )
        return self._stored[token.number]

    def change(self, change: Callable[[StateT], StateT]) -> None:
        """Put what ``change`` makes of it in the place of every state."""
        self._stored = {token: change(state) for token, state in self._stored.items()}

    def clear(self) -> None:
        """Forget all states."""
        self._stored.clear()
