"""Both kinds of wire have the same faults."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from wire_lines import QUICK, WIRES, Line, MakeTwin, connected, until, with_fault

from eqp_hw.errors import ConfigurationError
from eqp_hw.sim_backends.virtual_lab.faults import FaultKind, FaultPlan, FaultTiming, Scheduled

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")


@WIRES
def test_delay(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.DELAY)
    started = time.monotonic()
    assert line.ask(b"one") == b"one"
    assert time.monotonic() - started >= QUICK.delay_s
    assert twin.ask("faults")[name] == {"delay": 1}
    line.close()


@WIRES
def test_nothing_overtakes_a_delayed_reply(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.DELAY)
    line.send(b"one\n")
    until(lambda: twin.ask("counts")[name]["transactions"] == 1)
    assert line.ask(b"two") == b"one"
    assert line.line() == b"two"
    line.close()


@WIRES
def test_loss(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.LOSS)
    line.send(b"one\n")
    assert line.ask(b"two") == b"two"
    line.close()


@WIRES
def test_split(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.SPLIT)
    started = time.monotonic()
    line.send(b"a longer line\n")
    first = line.some()
    assert 0 < len(first) < 14
    line.buffer = first
    assert line.line() == b"a longer line"
    assert time.monotonic() - started >= QUICK.pause_s
    line.close()


@WIRES
def test_garble(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.GARBLE)
    line.send(b"0123456789\n")
    reply = line.some()
    assert len(reply) == 11
    changed = sum(a != b for a, b in zip(reply, b"0123456789\n", strict=True))
    assert 1 <= changed <= 2
    assert twin.instruments[name].lines == [b"0123456789"]  # type: ignore[attr-defined]
    line.close()


@WIRES
def test_duplicate(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.DUPLICATE)
    assert line.ask(b"one") == b"one"
    assert line.line() == b"one"
    assert line.ask(b"two") == b"two"
    line.close()


@WIRES
def test_stale(make_twin: MakeTwin, name: str) -> None:
    _, line = with_fault(make_twin, name, FaultKind.STALE)
    line.send(b"one\n")
    assert line.some(0.02) == b""
    assert line.ask(b"two") == b"one"
    assert line.line() == b"two"
    line.close()


@WIRES
def test_slow_drain(make_twin: MakeTwin, name: str) -> None:
    slow = FaultTiming(trickle_s=0.02, trickle_bytes=2)
    schedule = (Scheduled(name, 0, FaultKind.SLOW_DRAIN),)
    twin = make_twin(FaultPlan(schedule=schedule, timing=slow))
    line, started = connected(twin, name), time.monotonic()
    line.send(b"a reply of 20 bytes\n")
    line.buffer = line.some()
    assert len(line.buffer) < 20
    # While it trickles the instrument hears nothing.
    line.send(b"next\n")
    assert twin.ask("counts")[name]["transactions"] == 1
    assert line.line() == b"a reply of 20 bytes"
    assert time.monotonic() - started >= 9 * slow.trickle_s
    assert line.line() == b"next"
    line.close()


@WIRES
@pytest.mark.parametrize("kind", [FaultKind.LOST_REQUEST, FaultKind.GARBLED_REQUEST])
def test_faults_of_requests(make_twin: MakeTwin, name: str, kind: FaultKind) -> None:
    twin, line = with_fault(make_twin, name, kind)
    line.send(b"aaaaaaaaaaaaaaaaaaaa\n")
    reply = line.some(0.02)
    heard = twin.instruments[name].lines  # type: ignore[attr-defined]
    if kind is FaultKind.LOST_REQUEST:
        assert reply == b""
        assert heard == []
    else:
        assert b"aaaaaaaaaaaaaaaaaaaa" not in heard
    assert twin.ask("faults")[name] == {kind.value: 1}
    line.close()


def test_a_reply_fault_waits_for_a_reply(make_twin: MakeTwin) -> None:
    twin, line = with_fault(make_twin, "heaters", FaultKind.DUPLICATE)
    line.send(b"silent\n")
    until(lambda: twin.ask("counts")["heaters"]["transactions"] == 1)
    assert twin.ask("faults")["heaters"] == {}
    assert line.ask(b"one") == b"one"
    assert line.line() == b"one"
    line.close()


@WIRES
def test_power_cycle(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.POWER_CYCLE, at=1)
    assert line.ask(b"one") == b"one"
    line.send(b"lost\n")
    assert line.line() == b"HELLO"
    assert line.ask(b"two") == b"two"
    twin.inject(name, FaultKind.POWER_CYCLE)
    assert line.line() == b"HELLO"
    assert twin.ask("faults")[name] == {"power-cycle": 2}
    line.close()


@WIRES
def test_unplug_and_replug(make_twin: MakeTwin, name: str) -> None:
    twin = make_twin()
    address, line = twin.addresses[name], connected(twin, name)
    assert line.ask(b"one") == b"one"
    twin.do("unplug", instrument=name)
    with pytest.raises(OSError):  # noqa: PT011 - reset, end of file or EIO by the kind of line
        line.some()
    line.close()
    if name == "heaters":
        assert not Path(address.removeprefix("serial:")).exists()
    else:
        with pytest.raises(OSError), Line(address) as refused:  # noqa: PT011 - now or at a read
            refused.some()
    twin.do("replug", instrument=name)
    assert twin.addresses[name] == address
    line = connected(twin, name)
    assert line.ask(b"two") == b"two"
    line.close()


@WIRES
def test_a_pulled_cable_comes_back(make_twin: MakeTwin, name: str) -> None:
    twin, line = with_fault(make_twin, name, FaultKind.UNPLUG)
    line.send(b"one\n")
    with pytest.raises(OSError):  # noqa: PT011
        line.some()
    line.close()
    until(lambda: twin.ask("counts")[name]["plugged"])
    line = connected(twin, name)
    assert line.ask(b"two") == b"two"
    assert twin.ask("faults")[name] == {"unplug": 1}
    line.close()


def test_drawn_faults_are_repeatable_and_as_frequent_as_asked(make_twin: MakeTwin) -> None:
    chances = {FaultKind.DUPLICATE: 0.1, FaultKind.GARBLE: 0.2}

    def conversation(seed: int) -> tuple[list[bytes], dict[str, int]]:
        twin = make_twin(FaultPlan(chances, timing=FaultTiming(garble_mask=0x80), seed=seed))
        line, replies = connected(twin, "heaters"), []
        for number in range(300):
            line.send(b"hello %d\n" % number)
            size = len(b"hello %d\n" % number)
            reply = line.some()
            assert len(reply) in (size, 2 * size)
            replies.append(reply)
        line.close()
        counts: dict[str, int] = twin.ask("faults")["heaters"]
        return replies, counts

    first, counts = conversation(1)
    assert conversation(1) == (first, counts)
    assert conversation(2)[0] != first
    assert 15 <= counts["duplicate"] <= 45
    assert 40 <= counts["garble"] <= 80
    strange = sum(any(byte >= 0x80 for byte in reply) for reply in first)
    assert strange == counts["garble"]


def test_a_plan_is_replaced_while_it_runs(make_twin: MakeTwin) -> None:
    twin = make_twin()
    line = connected(twin, "heaters")
    assert line.ask(b"one") == b"one"
    plan = FaultPlan({FaultKind.DUPLICATE: 1.0}, instruments=("heaters",), most=2)
    twin.do("faults", plan=plan.to_json())
    assert [line.ask(b"a"), line.line(), line.ask(b"b"), line.line()] == [b"a", b"a", b"b", b"b"]
    assert line.ask(b"c") == b"c"
    assert line.ask(b"d") == b"d"
    line.close()


@pytest.mark.parametrize(
    "content",
    [
        {"probabilities": {"fire": 0.1}},
        {"probabilities": {"loss": 0.6, "delay": 0.6}},
        {"probabilities": {"loss": float("nan")}},
        {"probabilities": 3},
        {"schedule": [["heaters", 1]]},
        {"timing": {"delay_s": -1.0}},
        {"timing": {"colour": 1}},
        {"sede": 1},
    ],
)
def test_bad_plans_are_refused_by_name(content: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="faults"):
        FaultPlan.from_json(content)


def test_plans_survive_json() -> None:
    plan = FaultPlan(
        {FaultKind.LOSS: 0.1},
        ("heaters",),
        (Scheduled("detectors", 3, FaultKind.UNPLUG),),
        most=7,
        seed=3,
        timing=QUICK,
    )
    assert FaultPlan.from_json(plan.to_json()) == plan


@WIRES
def test_many_faults_of_all_kinds_leave_the_wire_whole(make_twin: MakeTwin, name: str) -> None:
    timing = FaultTiming(
        delay_s=1e-3, pause_s=1e-3, trickle_s=2e-4, trickle_bytes=4, unplugged_s=1e-3
    )
    chances = dict.fromkeys(FaultKind, 0.9 / len(FaultKind))
    twin = make_twin(FaultPlan(chances, seed=11, timing=timing))
    line: Line | None = None
    number = 0
    while sum(twin.ask("faults")[name].values()) < 500:
        number += 1
        try:
            line = connected(twin, name) if line is None else line
            line.send(b"number %d\n" % number)
            line.some(2e-3)
        except OSError:
            if line is not None:
                line.close()
            line = None
    twin.do("faults", plan={})
    until(lambda: twin.ask("counts")[name]["plugged"])
    if line is not None:
        line.close()
    with connected(twin, name) as after:
        after.send(b"\n")  # ends what a garbled line end has left open
        while after.some(0.05):
            pass
        assert [after.ask(b"a"), after.ask(b"b")] == [b"a", b"b"]
    assert twin.failures == []
    assert set(twin.ask("faults")[name]) == {kind.value for kind in FaultKind}
