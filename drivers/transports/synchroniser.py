"""Bringing requests and replies into step: drain, probe, listen."""

from __future__ import annotations

import logging
import time
from typing import final

from eqp_hw.drivers.errors import ProtocolError, TransportError, TransportTimeout

from .interface import Transport
from .line_protocol import LineProtocol, SyncProbe, show
from .line_reader import LineReader

__all__ = ["Synchroniser"]

_MAX_LINES_PER_PROBE = 10_000


@final
class Synchroniser:
    """Asks probes and judges their answers; parameters as `Session`."""

    def __init__(
        self,
        transport: Transport,
        protocol: LineProtocol,
        probe: SyncProbe,
        reader: LineReader,
        *,
        attempts: int,
        quiet_s: float,
        probe_timeout_s: float | None,
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._probe = probe
        self._reader = reader
        self._attempts = attempts
        self._quiet_s = quiet_s
        self._probe_timeout_s = probe_timeout_s
        self._number = 0
        self._log = logging.getLogger(f"eqp_hw.drivers.session.{transport.address}")

    def synchronise(self) -> None:
        """Drain the line and have the probe answered, with nothing after it.

        Raises
        ------
        TransportTimeout, ProtocolError, LostError
            As `Session.resynchronise`.
        """
        failure: TransportError | None = None
        for _ in range(self._attempts):
            try:
                self._synchronise_once()
            except (TransportTimeout, ProtocolError) as error:
                self._log.debug("probe failed: %s", error)
                # What answers wrongly tells more than a later silence does.
                if not isinstance(failure, ProtocolError) or isinstance(error, ProtocolError):
                    failure = error
            else:
                return
        assert failure is not None
        raise failure

    def fence(self) -> None:
        """Have the probe answered by the very next line.

        Raises
        ------
        ProtocolError
            Another line came first.
        TransportTimeout, LostError
            As `Transport.read_until`.
        """
        request, deadline = self._send_probe()
        line = self._reader.reply(deadline, refusals=False)
        if not self._probe.matches(line, self._number):
            raise ProtocolError(
                f"{show(line)} came before the answer to {show(request)}: replies are out of step",
                instrument=self._transport.address,
            )

    def _synchronise_once(self) -> None:
        self._reader.salvage(self._transport.drain(quiet_s=self._quiet_s))
        request, deadline = self._send_probe()
        self._await_answer(request, deadline)
        rest = self._transport.listen(self._quiet_s)
        strays = self._reader.salvage(rest)
        if strays or (rest and not rest.endswith(self._protocol.reply_end)):
            raise ProtocolError(
                f"{show(rest)} came after the answer to {show(request)}",
                instrument=self._transport.address,
                advice="is another program talking to this instrument?",
            )

    def _send_probe(self) -> tuple[bytes, float]:
        self._number += 1
        request = self._probe.request(self._number)
        self._transport.write(self._protocol.frame(request))
        timeout_s = self._probe_timeout_s
        if timeout_s is None:
            timeout_s = self._transport.timeout_s
        return request, time.monotonic() + timeout_s

    def _await_answer(self, request: bytes, deadline: float) -> None:
        """Pass over what is older than the answer to the probe."""
        last = b""
        try:
            for _ in range(_MAX_LINES_PER_PROBE):
                line = self._reader.reply(deadline, refusals=False)
                if self._probe.matches(line, self._number):
                    return
                last = line
        except TransportTimeout:
            if not last:
                raise
        raise ProtocolError(
            f"answered {show(last)} to {show(request)}",
            instrument=self._transport.address,
            advice="is it the right instrument, at the right speed?",
        )
