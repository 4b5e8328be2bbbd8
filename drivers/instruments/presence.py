"""Whether an instrument is there, and still as it was set up."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from eqp_hw.drivers.errors import StateLostError
from eqp_hw.drivers.transports.session import Session

from .checks import require_open

__all__ = ["Presence"]


@final
class Presence:
    """Remembers that an instrument has restarted, until that is dealt with.

    Parameters
    ----------
    session
        The dialogue with it.
    name
        Name in the rig file.
    restart_error
        Makes the error of a restart.
    """

    def __init__(
        self, session: Session, name: str, restart_error: Callable[[], StateLostError]
    ) -> None:
        self._session = session
        self._name = name
        self.restart_error = restart_error
        self.restarted = False
        """Whether a restart was seen and not yet dealt with."""

    def require(self) -> None:
        """See that there is an instrument whose state is known.

        Raises
        ------
        LostError, StateLostError
            There is not.
        """
        require_open(self._session, self._name)
        if self.restarted:
            raise self.restart_error()
