"""Turns messages into calls of an instrument's handlers, and answers into bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from eqp_hw.sim_backends.virtual_lab.instruments.common import Desk, LineAssembler
from eqp_hw.sim_backends.virtual_lab.interface import Reply

from .parser import Keyword, Pattern, Unit, parse_block, parse_number, parse_unit, split_outside
from .status import ScpiError, StatusModel

__all__ = ["Call", "Command", "ScpiEngine"]


@final
@dataclass(frozen=True)
class Call:
    """What a handler is given: suffixes of the ``#`` keywords, and the parameters as text."""

    suffixes: tuple[int, ...]
    parameters: tuple[str, ...]

    def parameter(self, number: int) -> str:
        """Return a parameter that must be there.

        Raises
        ------
        ScpiError
            -109 where it is missing.
        """
        if number >= len(self.parameters):
            raise ScpiError(-109)
        return self.parameters[number]


_MOST_REMEMBERED = 512

Handler = Callable[[Call], str | bytes | None]


@final
@dataclass(frozen=True)
class Command:
    """One entry of an instrument's command tree.

    Attributes
    ----------
    header
        As manuals write it, with ``?`` for a query: ``[SOURce#]:VOLTage?``.
    handler
        Returns the answer of a query; raises `ScpiError`.
    most
        Largest number of parameters.
    busy_s
        Time that it takes, s.
    """

    header: str
    handler: Handler
    most: int = 0
    busy_s: float = 2e-4


@final
@dataclass(frozen=True)
class _Entry:
    pattern: Pattern
    query: bool
    command: Command


@final
class ScpiEngine:
    """IEEE 488.2 message exchange over raw bytes, with the common commands.

    Parameters
    ----------
    desk
        Where answers and durations go.
    identity
        Answer of ``*IDN?``.
    commands
        The instrument's own tree.
    reset, trigger
        What ``*RST`` and ``*TRG`` do.
    message_s
        Time that any message takes, s.
    zero_error
        Error number zero as the maker writes it: ``0`` or ``+0``.
    """

    def __init__(
        self,
        desk: Desk,
        identity: str,
        commands: Sequence[Command],
        *,
        reset: Callable[[], None],
        trigger: Callable[[], None] | None = None,
        reset_s: float = 5e-3,
        message_s: float = 5e-4,
        zero_error: str = "0",
        ends: bytes = b"\n",
        answer_end: bytes = b"\n",
        queue_length: int = 20,
    ) -> None:
        self.status = StatusModel(queue_length)
        self._desk = desk
        self._identity = identity
        self._zero = zero_error
        self._lines = LineAssembler(ends, 65536)
        self._answer_end = answer_end
        self._message_s = message_s
        self._answering = False
        self._reset = reset
        self._reset_s = reset_s
        self._trigger = trigger
        self._found: dict[tuple[tuple[Keyword, ...], bool], tuple[_Entry, tuple[int, ...]]] = {}
        self._entries = tuple(
            _Entry(Pattern(c.header.removesuffix("?")), c.header.endswith("?"), c)
            for c in (*self._common(), *commands)
        )

    def _common(self) -> tuple[Command, ...]:
        status = self.status
        return (
            Command("*IDN?", lambda call: self._identity),
            Command("*RST", self._reset_all),
            Command("*CLS", lambda call: status.clear()),
            Command("*OPC", self._operation_complete),
            Command("*OPC?", lambda call: "1"),
            Command("*WAI", lambda call: None),
            Command("*ESE", self._event_enable, most=1),
            Command("*ESE?", lambda call: str(status.event_enable)),
            Command("*ESR?", lambda call: str(status.read_event())),
            Command("*SRE", self._service_enable, most=1),
            Command("*SRE?", lambda call: str(status.service_enable)),
            Command("*STB?", lambda call: str(status.status_byte(self._answering))),
            Command("*TST?", lambda call: "0", busy_s=0.1),
            Command("*TRG", self._bus_trigger),
            Command("*OPT?", lambda call: "0"),
            Command("SYSTem:ERRor[:NEXT]?", lambda call: self._error_text(*status.pop())),
            Command(
                "SYSTem:ERRor:ALL?",
                lambda call: ",".join(self._error_text(*e) for e in status.pop_all()),
            ),
            Command("SYSTem:ERRor:COUNt?", lambda call: str(status.n_errors)),
            Command("SYSTem:VERSion?", lambda call: "1999.0"),
        )

    def _error_text(self, code: int, text: str) -> str:
        return f'{code if code else self._zero},"{text}"'

    def _reset_all(self, call: Call) -> None:
        self._reset()
        self._desk.spend(self._reset_s)

    def _operation_complete(self, call: Call) -> None:
        self.status.event |= StatusModel.OPC

    def _event_enable(self, call: Call) -> None:
        self.status.event_enable = _register(call)

    def _service_enable(self, call: Call) -> None:
        self.status.service_enable = _register(call) & ~StatusModel.MSS

    def _bus_trigger(self, call: Call) -> None:
        if self._trigger is None:
            raise ScpiError(-211)
        self._trigger()

    def new_session(self) -> None:
        """Forget an unfinished message; status and errors stay."""
        self._lines.clear()

    def power_on(self) -> None:
        """Forget input and status."""
        self._lines.clear()
        self.status.power_on()

    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes in any portions; return the answers."""
        self._desk.begin()
        for line in self._lines.add(data):
            if line is None:
                self.status.push(ScpiError(-363))
            else:
                self._message(line)
        return self._desk.end()

    def _message(self, line: bytes) -> None:
        text = line.decode("latin-1").strip()
        if not text:
            return
        self._desk.spend(self._message_s)
        answers: list[bytes] = []
        path: tuple[Keyword, ...] = ()
        try:
            for part in split_outside(text, ";"):
                unit = parse_unit(part, path)
                if unit is None:
                    continue
                path = unit.path
                self._answering = bool(answers)
                answer = self._run(unit)
                if answer is not None:
                    answers.append(answer)
        except ScpiError as error:  # a command error ends the message
            self.status.push(error)
        if answers:
            self._desk.say(b";".join(answers) + self._answer_end)

    def _run(self, unit: Unit) -> bytes | None:
        entry, suffixes = self._find(unit)
        for parameter in unit.parameters:
            if not parameter:
                raise ScpiError(-109)
            if parameter.startswith("#"):
                parse_block(parameter.encode("latin-1"))
                raise ScpiError(-104)
        if len(unit.parameters) > entry.command.most:
            raise ScpiError(-108)
        self._desk.spend(entry.command.busy_s)
        try:
            answer = entry.command.handler(Call(suffixes, unit.parameters))
        except ScpiError as error:
            if error.code > -200:
                raise
            self.status.push(error)  # an execution error ends only its own unit
            return None
        return answer.encode("latin-1") if isinstance(answer, str) else answer

    def _find(self, unit: Unit) -> tuple[_Entry, tuple[int, ...]]:
        asked = unit.header, unit.query
        if asked not in self._found:
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            self._found[asked] = self._search(unit)
        return self._found[asked]

    def _search(self, unit: Unit) -> tuple[_Entry, tuple[int, ...]]:
        for entry in self._entries:
            if entry.query == unit.query:
                suffixes = entry.pattern.match(unit.header)
                if suffixes is not None:
                    return entry, suffixes
        raise ScpiError(-113)


def _register(call: Call) -> int:
    return int(parse_number(call.parameter(0), minimum=0, maximum=255))
