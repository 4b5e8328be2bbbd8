from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from simulated_bench import ResistorPlant, talk

from eqp_hw.sim_backends.virtual_lab.instruments.common import Desk
from eqp_hw.sim_backends.virtual_lab.instruments.scpi import (
    Call,
    Command,
    ScpiEngine,
    ScpiError,
    StatusModel,
)
from eqp_hw.sim_backends.virtual_lab.interface import Reply


class Toy:
    """One value, one list, and a handler that fails as told."""

    def __init__(self) -> None:
        self.value = 0.0
        self.resets = self.triggers = 0
        self.engine = ScpiEngine(
            Desk(ResistorPlant()),
            "MAKER,MODEL,SN,1.0",
            [
                Command("[SOURce#]:LEVel", self._set, 1),
                Command("[SOURce#]:LEVel?", lambda c: f"{c.suffixes[0]}/{self.value:g}"),
                Command("[SOURce#]:LIMit?", lambda c: "limit"),
                Command("FAIL", self._fail, 1),
                Command("BLOCk?", lambda c: b"#15\n;\nab"),
            ],
            reset=self._reset,
            trigger=self._trigger,
            queue_length=4,
        )

    def feed(self, data: bytes) -> list[Reply]:
        return self.engine.feed(data)

    def _set(self, call: Call) -> None:
        self.value = float(call.parameter(0))

    def _fail(self, call: Call) -> None:
        raise ScpiError(int(call.parameter(0)))

    def _reset(self) -> None:
        self.resets += 1

    def _trigger(self) -> None:
        self.triggers += 1


@pytest.fixture
def toy() -> Toy:
    return Toy()


def ask(toy: Toy, text: str) -> list[str]:
    return talk(toy, text)


def test_common_commands(toy: Toy) -> None:
    assert ask(toy, "*idn?") == ["MAKER,MODEL,SN,1.0"]
    assert ask(toy, "*RST;*TRG;*WAI;*OPC?") == ["1"]
    assert (toy.resets, toy.triggers) == (1, 1)
    assert ask(toy, "*TST?;*OPT?") == ["0;0"]
    assert ask(toy, "SYST:VERS?") == ["1999.0"]


def test_answers_of_a_message_come_as_one_line(toy: Toy) -> None:
    assert ask(toy, "SOUR2:LEV 3;LEV?;LIM?;:LEV?") == ["2/3;limit;1/3"]
    assert toy.feed(b"BLOC?\n")[0].data == b"#15\n;\nab\n"
    assert ask(toy, "SOUR:LEV 1;;") == []
    assert ask(toy, "") == []


def test_event_register_clears_on_reading(toy: Toy) -> None:
    assert ask(toy, "*ESR?") == ["128"]
    assert ask(toy, "*OPC;*ESR?;*ESR?") == ["1;0"]
    ask(toy, "FAIL -222")
    ask(toy, "FAIL -310")
    ask(toy, "NOWHERE")
    assert ask(toy, "*ESR?") == [str(16 + 8 + 32)]


def test_status_byte(toy: Toy) -> None:
    assert ask(toy, "*CLS;*STB?") == ["0"]
    ask(toy, "NOWHERE")
    assert ask(toy, "*STB?") == ["4"]
    assert ask(toy, "*ESE 32;*STB?") == ["36"]
    assert ask(toy, "*SRE 32;*STB?") == [str(36 + 64)]
    assert ask(toy, "*SRE?;*ESE?;*STB?") == [f"32;32;{36 + 64 + 16}"]
    assert ask(toy, "*CLS;*STB?") == ["0"]
    toy.engine.status.questionable = 1
    toy.engine.status.operation = 1
    assert ask(toy, "*STB?") == [str(8 + 128)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("NOWHERE", -113),
        ("LEV? 1", -108),
        ("LEV 1,2", -108),
        ("LEV", -109),
        ("LEV 1,", -109),
        ("LEV ,", -109),
        ("LEV::A", -102),
        ("LIM3?", -114),
        ("LEV #13abc", -104),
        ("LEV #13ab", -161),
        ("LEV 'a", -151),
        ("*ESE 256", -222),
        ("*ESE x", -104),
        ("*TRG?", -113),
    ],
)
def test_errors(toy: Toy, message: str, code: int) -> None:
    assert ask(toy, message) == []
    assert ask(toy, "SYST:ERR?")[0].split(",")[0] == str(code)
    assert ask(toy, "SYST:ERR?") == ['0,"No error"']


def test_command_error_ends_the_message_execution_error_its_unit(toy: Toy) -> None:
    assert ask(toy, "LIM?;FAIL -222;LIM?;NOWHERE;LIM?") == ["limit;limit"]
    assert ask(toy, "SYST:ERR:COUN?") == ["2"]
    assert ask(toy, "SYST:ERR:ALL?") == ['-222,"Data out of range",-113,"Undefined header"']
    assert ask(toy, "SYST:ERR:ALL?") == ['0,"No error"']


def test_a_handler_s_command_error_ends_the_message(toy: Toy) -> None:
    assert ask(toy, "LEV;LIM?") == []
    assert ask(toy, "FAIL -104;LIM?") == []
    assert ask(toy, "SYST:ERR:COUN?") == ["2"]


def test_queue_overflow_replaces_the_last(toy: Toy) -> None:
    for code in (-102, -104, -113, -222, -221):
        toy.engine.status.push(ScpiError(code))
    codes = [ask(toy, "SYST:ERR?")[0].split(",")[0] for _ in range(5)]
    assert codes == ["-102", "-104", "-113", "-350", "0"]


def test_overlong_message_is_an_error(toy: Toy) -> None:
    assert toy.feed(b"LEV 1" * 20_000 + b"\n") == []
    assert ask(toy, "SYST:ERR?") == ['-363,"Input buffer overrun"']


def test_query_errors_of_message_based_wires(toy: Toy) -> None:
    toy.engine.status.query_interrupted()
    toy.engine.status.query_unterminated()
    assert ask(toy, "SYST:ERR?;ERR?") == ['-410,"Query INTERRUPTED";-420,"Query UNTERMINATED"']
    assert int(ask(toy, "*ESR?")[0]) & 4


class Queue(RuleBasedStateMachine):
    """The queue against a list."""

    LENGTH = 3

    @initialize()
    def start(self) -> None:
        self.status = StatusModel(self.LENGTH)
        self.model: list[int] = []

    @rule(code=st.sampled_from([-102, -113, -222, -410, -350]))
    def push(self, code: int) -> None:
        self.status.push(ScpiError(code))
        if len(self.model) < self.LENGTH:
            self.model.append(code)
        else:
            self.model[-1] = -350

    @rule()
    def pop(self) -> None:
        assert self.status.pop()[0] == (self.model.pop(0) if self.model else 0)

    @rule()
    def clear(self) -> None:
        self.status.clear()
        self.model.clear()
        assert self.status.event == 0

    @rule()
    def count(self) -> None:
        assert self.status.n_errors == len(self.model)
        assert bool(self.status.status_byte() & 4) == bool(self.model)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
