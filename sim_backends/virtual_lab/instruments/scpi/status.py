"""The status model and the error queue of IEEE 488.2 and SCPI-99 (volume 2, chapter 21)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, final

__all__ = ["ERROR_TEXTS", "ScpiError", "StatusModel"]

ERROR_TEXTS: Final[Mapping[int, str]] = {
    0: "No error",
    -100: "Command error",
    -102: "Syntax error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -123: "Exponent too large",
    -131: "Invalid suffix",
    -151: "Invalid string data",
    -161: "Invalid block data",
    -200: "Execution error",
    -211: "Trigger ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -240: "Hardware error",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
}


class ScpiError(Exception):
    """A code for the error queue; ``detail`` replaces the standard text."""

    def __init__(self, code: int, detail: str | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


@final
class StatusModel:
    """Registers and queue; no instrument knowledge."""

    OPC, QUERY_ERROR, DEVICE_ERROR, EXECUTION_ERROR = 1, 4, 8, 16
    COMMAND_ERROR, POWER_ON = 32, 128
    ERROR_QUEUE, QUESTIONABLE, MESSAGE, ESB, MSS, OPERATION = 4, 8, 16, 32, 64, 128

    def __init__(self, queue_length: int = 20) -> None:
        self._queue: deque[tuple[int, str]] = deque()
        self._queue_length = queue_length
        self.power_on()

    def power_on(self) -> None:
        """Go to the state after power-up."""
        self._queue.clear()
        self.event = self.POWER_ON
        self.event_enable = 0
        self.service_enable = 0
        self.questionable = 0
        self.operation = 0

    def clear(self) -> None:
        """Do ``*CLS``: events and errors go, enable masks stay."""
        self._queue.clear()
        self.event = 0

    def push(self, error: ScpiError) -> None:
        """Queue an error and set its event bit."""
        code = error.code
        if -200 < code <= -100:
            self.event |= self.COMMAND_ERROR
        elif -300 < code <= -200:
            self.event |= self.EXECUTION_ERROR
        elif -500 < code <= -400:
            self.event |= self.QUERY_ERROR
        else:
            self.event |= self.DEVICE_ERROR
        text = error.detail or ERROR_TEXTS.get(code, "Device-specific error")
        if len(self._queue) < self._queue_length:
            self._queue.append((code, text))
        else:
            self._queue[-1] = (-350, ERROR_TEXTS[-350])
            self.event |= self.DEVICE_ERROR

    def pop(self) -> tuple[int, str]:
        """Take the oldest error; (0, "No error") where there is none."""
        return self._queue.popleft() if self._queue else (0, ERROR_TEXTS[0])

    def pop_all(self) -> list[tuple[int, str]]:
        """Take all errors; never an empty list."""
        errors = list(self._queue) or [(0, ERROR_TEXTS[0])]
        self._queue.clear()
        return errors

    @property
    def n_errors(self) -> int:
        """Length of the queue."""
        return len(self._queue)

    def read_event(self) -> int:
        """Do ``*ESR?``: reading clears."""
        event, self.event = self.event, 0
        return event

    def status_byte(self, message_available: bool = False) -> int:
        """Return the status byte as ``*STB?`` does, with MSS in bit 6."""
        byte = self.ERROR_QUEUE if self._queue else 0
        byte |= self.QUESTIONABLE if self.questionable else 0
        byte |= self.MESSAGE if message_available else 0
        byte |= self.ESB if self.event & self.event_enable else 0
        byte |= self.OPERATION if self.operation else 0
        return byte | (self.MSS if byte & self.service_enable & ~self.MSS else 0)

    def query_interrupted(self) -> None:
        """Note that a message came before the last answer was fetched (message-based wires)."""
        self.push(ScpiError(-410))

    def query_unterminated(self) -> None:
        """Note that the controller reads though nothing was asked (message-based wires)."""
        self.push(ScpiError(-420))
