"""Requests and replies over lines, kept in step.

A wire without request numbers can hand the late answer of one query to the next. So: nothing is
sent while unread bytes lie about; after every failure the line is drained and a probe must be
answered before the next request goes out; a reply counts only with its terminator; only what the
caller calls idempotent is ever sent twice. An instrument answers in the order it was asked, so
once the probe is answered nothing older can come.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, final

from eqp_hw.drivers.errors import (
    InstrumentError,
    LostError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)

from .interface import Transport
from .line_protocol import LineProtocol, SyncProbe, show
from .line_reader import LineReader
from .synchroniser import Synchroniser

__all__ = ["Session"]

T = TypeVar("T")

_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 0.25


def _as_it_is(line: bytes) -> bytes:
    return line


@final
class Session:
    """Line-based dialogue with one instrument.

    Parameters
    ----------
    transport
        The wire; the session opens and closes it.
    protocol
        Framing and kinds of lines.
    probe
        The query that proves that both sides are in step.
    name
        Name in the rig file, for messages.
    attempts
        How often an idempotent request or a probe is tried in all.
    quiet_s
        A line is quiet when nothing came for so long.
    probe_timeout_s
        Deadline of a probe's answer; the transport's own where None.
    """

    def __init__(
        self,
        transport: Transport,
        protocol: LineProtocol,
        probe: SyncProbe,
        *,
        name: str = "",
        attempts: int = 3,
        quiet_s: float = 0.05,
        probe_timeout_s: float | None = None,
    ) -> None:
        self.transport = transport
        self.protocol = protocol
        self.name = name
        self._attempts = attempts
        self._quiet_s = quiet_s
        self._in_step = False
        self._reader = LineReader(transport, protocol)
        self._synchroniser = Synchroniser(
            transport,
            protocol,
            probe,
            self._reader,
            attempts=attempts,
            quiet_s=quiet_s,
            probe_timeout_s=probe_timeout_s,
        )
        self._log = logging.getLogger(f"eqp_hw.drivers.session.{name or transport.address}")

    @property
    def in_step(self) -> bool:
        """Whether the next reply belongs to the next request, as far as is known."""
        return self._in_step and self.transport.is_open and not self.transport.dirty

    def open(self) -> None:
        """Open the wire and see that the probe is answered.

        Raises
        ------
        BusyError, LostError
            The wire cannot be opened.
        TransportTimeout
            Nobody answers.
        ProtocolError
            Something else answers; the message shows what.
        """
        try:
            self._in_step = False
            self.transport.open()
            self.resynchronise()
        except InstrumentError as error:
            self.transport.close()
            if isinstance(error, TransportTimeout):
                error.problem = f"nobody answers within {self.transport.timeout_s:g} s"
                error.advice = "switched on? the right address, the right baud rate?"
            raise self._named(error) from error.__cause__

    def close(self) -> None:
        """Close the wire; idempotent, never raises."""
        self._in_step = False
        self.transport.close()

    def query(
        self,
        line: bytes,
        *,
        idempotent: bool = False,
        fenced: bool = False,
        timeout_s: float | None = None,
    ) -> bytes:
        """Send a line and return the one line of its reply; see `ask`."""
        return self.ask(line, _as_it_is, idempotent=idempotent, fenced=fenced, timeout_s=timeout_s)

    def query_lines(
        self,
        line: bytes,
        count: int,
        *,
        idempotent: bool = False,
        fenced: bool = False,
        timeout_s: float | None = None,
    ) -> list[bytes]:
        """Send a line and return the ``count`` lines of its reply; see `ask`."""
        return self.ask_lines(
            line, count, _as_it_is, idempotent=idempotent, fenced=fenced, timeout_s=timeout_s
        )

    def ask(
        self,
        line: bytes,
        parse: Callable[[bytes], T],
        *,
        idempotent: bool = False,
        fenced: bool = False,
        timeout_s: float | None = None,
    ) -> T:
        """Send a line and return its reply as ``parse`` reads it.

        Parameters
        ----------
        line
            Request without its end.
        parse
            Pure; gets the stripped line and raises ValueError for one that does not fit. The
            stricter it is, the fewer wrong lines get past (a SCPI query sent as
            ``MEAS:VOLT? (@1);*ESE 37;*ESE?`` lets it check a number of its own).
        idempotent
            Whether sending it twice is as good as once (queries, absolute set-points): then it
            is repeated after a time-out or a reply that does not fit.
        fenced
            Whether a probe must be answered right after the reply, before it counts. An older
            answer of the same form, come in between unseen (a line sent twice), would push the
            right one into the probe's place. Costs a round trip.
        timeout_s
            Deadline of the whole reply; the transport's own where None.

        Raises
        ------
        TransportTimeout
            No complete reply.
        ProtocolError
            The reply does not fit.
        LostError
            The other side is gone or not to be brought into step: `recover`.
        InstrumentError
            What the protocol's ``refusal`` makes of an error line.
        """
        return self._request(
            self.protocol.frame(line),
            lambda deadline: self._parsed(line, deadline, parse),
            idempotent,
            fenced,
            timeout_s,
        )

    def ask_lines(
        self,
        line: bytes,
        count: int,
        parse: Callable[[bytes], T],
        *,
        idempotent: bool = False,
        fenced: bool = False,
        timeout_s: float | None = None,
    ) -> list[T]:
        """Send a line and return ``count`` lines, each as ``parse`` reads it; see `ask`."""
        return self._request(
            self.protocol.frame(line),
            lambda deadline: [self._parsed(line, deadline, parse) for _ in range(count)],
            idempotent,
            fenced,
            timeout_s,
        )

    def ask_each(
        self, lines: Sequence[bytes], parse: Callable[[bytes], T], *, timeout_s: float | None = None
    ) -> list[T]:
        """Send several one-line queries at once; return their replies, each as ``parse`` reads it.

        Saves the round trips between them. Queries only: all are asked again after a failure.
        A line more than was asked for counts as one, because nobody knows which was too many.
        All must fit into the instrument's input buffer; errors as `ask`.
        """

        def take(deadline: float) -> list[T]:
            found = [self._parsed(line, deadline, parse) for line in lines]
            if self._reader.strays(self._quiet_s):
                raise self._misfit(lines[-1], "more lines than questions")
            return found

        data = b"".join(self.protocol.frame(line) for line in lines)
        return self._request(data, take, True, False, timeout_s)

    def ask_block(
        self,
        line: bytes,
        *,
        length: int | None = None,
        idempotent: bool = False,
        fenced: bool = False,
        timeout_s: float | None = None,
    ) -> bytes:
        """Send a line and return the payload of a definite-length block (IEEE 488.2, 8.7.9).

        Parameters
        ----------
        length
            Number of bytes that the payload must have, unchecked where None.

        Raises
        ------
        As `ask`; ProtocolError also where the block has another length or no terminator.
        """
        return self._request(
            self.protocol.frame(line),
            lambda deadline: self._block(line, deadline, length),
            idempotent,
            fenced,
            timeout_s,
        )

    def command(self, line: bytes, *, idempotent: bool = False) -> None:
        """Send a line that has no reply.

        Raises
        ------
        TransportTimeout, LostError
            It did not go out, or not all of it.
        """
        self._request(self.protocol.frame(line), lambda deadline: None, idempotent, False, None)

    def send_blind(self, data: bytes) -> None:
        """Send raw bytes, in step or not, and expect nothing: for safe states on a bad wire.

        The session is out of step afterwards.

        Raises
        ------
        TransportError
            They did not go out.
        """
        self._in_step = False
        try:
            self.transport.write(data)
        except InstrumentError as error:
            raise self._named(error) from error.__cause__

    def take_events(self) -> list[bytes]:
        """Return and forget the event lines that have come, without waiting.

        Raises
        ------
        LostError
            The other side is gone; nothing is forgotten.
        """
        try:
            if self.in_step and self._reader.strays(self._quiet_s):
                self._in_step = False
        except InstrumentError as error:
            self._in_step = False
            raise self._named(error) from error.__cause__
        return self._reader.take_events()

    def resynchronise(self) -> None:
        """Drain the line and have the probe answered; does not reopen.

        Raises
        ------
        TransportTimeout
            Nothing answers the probe.
        ProtocolError
            What answers is not the probe's answer, or the line does not fall quiet.
        LostError
            The other side is gone.
        """
        self._in_step = False
        self._synchroniser.synchronise()
        self._in_step = True

    def recover(self, *, patience_s: float = 0.0) -> bool:
        """Bring both sides into step again: drain and probe, else close and open the wire.

        After a reopening the instrument may be another one, or have restarted: the driver
        identifies it and looks at its state before it goes on.

        Parameters
        ----------
        patience_s
            How long to wait for a vanished port to come back.

        Returns
        -------
        Whether the wire had to be reopened.

        Raises
        ------
        TransportError
            It cannot be recovered.
        """
        try:
            if self.transport.is_open:
                try:
                    self.resynchronise()
                except TransportError as error:
                    self._log.info("reopening: %s", error)
                else:
                    return False
            self._reopen(time.monotonic() + patience_s)
        except InstrumentError as error:
            raise self._named(error) from error.__cause__
        return True

    def _reopen(self, deadline: float) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                self.transport.reopen()
                self.resynchronise()
                return
            except TransportError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                time.sleep(min(wait_s, left))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _request(
        self,
        data: bytes,
        take: Callable[[float], T],
        idempotent: bool,
        fenced: bool,
        timeout_s: float | None,
    ) -> T:
        tries = self._attempts if idempotent else 1
        while True:
            tries -= 1
            try:
                self._prepare()
                # False until all of the reply is in: an interrupt in between leaves it so.
                self._in_step = False
                self.transport.write(data)
                result = take(self._deadline(timeout_s))
                if fenced:
                    self._synchroniser.fence()
                self._in_step = True
                return result
            except (TransportTimeout, ProtocolError) as error:
                self._in_step = False
                if tries <= 0:
                    raise self._named(error) from error.__cause__
                self._log.info("asking again: %s", error)
            except InstrumentError as error:
                raise self._named(error) from error.__cause__

    def _prepare(self) -> None:
        """See to it that nothing of an earlier request is under way."""
        if self.in_step and not self._reader.strays(self._quiet_s):
            return
        if not self.transport.is_open:
            raise LostError(
                "the wire is closed", instrument=self.transport.address, advice="connect first"
            )
        try:
            self.resynchronise()
        except (TransportTimeout, ProtocolError) as error:
            raise LostError(
                f"requests and replies cannot be brought into step: {error.problem}",
                instrument=self.transport.address,
                advice="recover it: the wire must be opened again",
            ) from error

    def _parsed(self, line: bytes, deadline: float, parse: Callable[[bytes], T]) -> T:
        reply = self._reader.reply(deadline)
        try:
            return parse(reply)
        except ValueError as error:
            raise self._misfit(line, f"{show(reply)} ({error})") from None

    def _block(self, line: bytes, deadline: float, length: int | None) -> bytes:
        try:
            return self._reader.block(length, deadline)
        except ValueError as error:
            raise self._misfit(line, str(error)) from None

    def _misfit(self, line: bytes, what: str) -> ProtocolError:
        return ProtocolError(
            f"the reply to {show(line)} does not fit: {what}", instrument=self.transport.address
        )

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self.transport.timeout_s if timeout_s is None else timeout_s)

    def _named(self, error: InstrumentError) -> InstrumentError:
        """Say which instrument of the rig file it is, where only the address was known."""
        if self.name and error.instrument in {"", self.transport.address}:
            error.instrument = f"{self.name} ({self.transport.address})"
        return error
