"""What holds for every simulator: portions do not matter, and no bytes can upset it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_bench import ResistorPlant, make

from eqp_hw.errors import ConfigurationError
from eqp_hw.sim_backends.virtual_lab.instruments import SIMULATORS
from eqp_hw.sim_backends.virtual_lab.interface import SimulatedInstrument

CONVERSATIONS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "qontrol": (
        "qontrol",
        {"modules": 2},
        b"id?\nnup=0\nnupall?\nV3=4.5\nV3?\r\nVVEC8=1,2,3\n\x83\x00\x00\x00\x05\x00\x02\x80\x00"
        b"\x0a\x0a\x88\x00\x00\x00\x05\x00\x00VMAX1=2\nV1=3\nVIPALL?\nbogus\nLOG?\n"
        + b"x" * 300
        + b"\nV?\n",
    ),
    "keysight": (
        "scpi-source",
        {"dialect": "keysight"},
        b"*IDN?\nVOLT 1.5,(@1:3);:OUTP ON,(@1,2)\r\nMEAS:VOLT? (@1:4);CURR? (@2)\nNONSENSE;*ESR?\n"
        b"SYST:ERR?\n*STB?;*OPC?\n",
    ),
    "rohde-schwarz": (
        "scpi-source",
        {"dialect": "rohde-schwarz"},
        b"INST:NSEL 2;:VOLT 1.2;:OUTP ON\nMEAS:VOLT?\nINST:NSEL?\nVOLT 99\nSYST:ERR?;:SYST:ERR?\n",
    ),
    "keithley-tsp": (
        "scpi-source",
        {"dialect": "keithley-tsp"},
        b"smua.source.levelv=1.2 smua.source.output=1\nprint(smua.measure.iv())\nwrong=\n"
        b"print(errorqueue.count); print(errorqueue.next())\n",
    ),
    "qdac2": (
        "scpi-source",
        {"dialect": "qdac2"},
        b"sour3:volt:trig 0.1\nsour:volt:slew 20,(@5)\nsour5:volt 1\n*trg\nread? (@3:5)\n"
        b"sour3:volt?;volt? (@5)\nsyst:err:all?\n",
    ),
    "digitiser": (
        "scpi-digitiser",
        {"channels": 8},
        b"ROUT:SCAN (@1:3,8);:SAMP:COUN 3\nFORM:DATA REAL,64\nREAD?;*IDN?\nMEAS:VOLT? (@3)\n",
    ),
    "opendac": (
        "opendac",
        {},
        b"*IDN?\rSET,0,1.5\r\nGET_ADC,1\rBUFFER_RAMP,0,01,-1,1,5,100\rSET,1,99\rNONSENSE\r",
    ),
    "pm100": ("pm100", {}, b"SENS:POW:RANG:AUTO ON\nREAD?\nSENS:CORR:WAV 5;*ESR?\nSYST:ERR?\n"),
    "sr830": ("sr830", {}, b"SNAP?1,2;OUTP? 3\rSENS 20\nLIAS?\nWRONG?\n*ESR?\n"),
}


def powered(case: str) -> tuple[ResistorPlant, SimulatedInstrument, bytes]:
    kind, options, conversation = CONVERSATIONS[case]
    plant = ResistorPlant()
    plant.levels = np.linspace(-1.0, 1.0, 128)
    plant.noise_V = 1e-3
    return plant, make(kind, plant, **options), conversation


def test_every_kind_is_covered() -> None:
    assert {kind for kind, _, _ in CONVERSATIONS.values()} == set(SIMULATORS)


@pytest.mark.parametrize("case", CONVERSATIONS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_portions_do_not_matter(case: str, data: st.DataObject) -> None:
    plant, instrument, conversation = powered(case)
    whole = instrument.feed(conversation)
    cuts = data.draw(st.lists(st.integers(0, len(conversation)), max_size=8))
    edges = [0, *sorted(cuts), len(conversation)]
    plant_again, again, _ = powered(case)
    pieces = [
        reply for start, stop in pairwise(edges) for reply in again.feed(conversation[start:stop])
    ]
    assert [(r.data, r.asynchronous) for r in pieces] == [(r.data, r.asynchronous) for r in whole]
    assert plant_again.driven == plant.driven
    assert len(whole) >= 2


@pytest.mark.parametrize("case", CONVERSATIONS)
@settings(max_examples=40, deadline=None)
@given(
    noise=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.text("VISOURTMEAC:?*;,=()@#.0123456789-+eE\"' \n\r", max_size=40).map(str.encode),
            st.sampled_from([b"\n", b"\r", b";", b"(@", b"#15", b'"', b"\x83\x00\x00\x00\x00"]),
        ),
        max_size=12,
    )
)
def test_no_bytes_upset_it(case: str, noise: list[bytes]) -> None:
    plant, instrument, conversation = powered(case)
    lines = conversation.replace(b"\r", b"\n").split(b"\n")
    for number, part in enumerate(noise):
        for reply in instrument.feed(part + lines[number % len(lines)][:-1]):
            assert reply.after_s >= 0.0
    instrument.power_cycle()
    assert all(volts == 0.0 for volts in plant.driven.values())
    _, reference, _ = powered(case)
    reference.power_cycle()
    probe = b"id?\n" if case == "qontrol" else b"*IDN?\r" if case == "opendac" else b"*IDN?\n"
    assert [r.data for r in instrument.feed(probe)] == [r.data for r in reference.feed(probe)]


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_damaged_conversations_never_raise(case: str) -> None:
    rng = np.random.default_rng(11)
    marks = np.frombuffer(b"0123456789.,;:()@#\"'\n\r*?=ALV-e+ \x1c\x85\xff", np.uint8)
    for _ in range(60):
        plant, instrument, conversation = powered(case)
        data = bytearray(conversation)
        for kind, place in rng.random((8, 2)):
            at = int(place * len(data))
            if kind < 0.4:
                data[at : at + 1] = rng.bytes(1)
            elif kind < 0.6:
                del data[at : at + int(rng.integers(1, 9))]
            else:
                data[at:at] = rng.choice(marks, int(rng.integers(1, 9))).tobytes()
        instrument.feed(bytes(data))
        assert all(abs(volts) <= 41.0 for volts in plant.driven.values())


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_a_new_session_forgets_half_a_request_and_nothing_else(case: str) -> None:
    plant, instrument, conversation = powered(case)
    instrument.feed(conversation)
    driven = dict(plant.driven)
    probe = b"id?\n" if case == "qontrol" else b"*IDN?\r" if case == "opendac" else b"*IDN?\n"
    expected = [r.data for r in instrument.feed(probe)]
    for half in (b"SENS", b"x" * 70_000):
        assert instrument.feed(half) == []
        instrument.new_session()
        assert [r.data for r in instrument.feed(probe)] == expected
    assert plant.driven == driven


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_memory_of_an_endless_line_is_bounded(case: str) -> None:
    _, instrument, _ = powered(case)
    for _ in range(3):
        assert instrument.feed(b"a" * 100_000) == []
    ends = instrument.feed(b"\n" + b"\r" + b"\n")
    assert len(ends) <= 3
    probe = b"id?\n" if case == "qontrol" else b"*IDN?\r" if case == "opendac" else b"*IDN?\n"
    assert instrument.feed(probe)[-1].data


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_each_transaction_takes_time_and_says_so(case: str) -> None:
    kind, options, conversation = CONVERSATIONS[case]
    plant = ResistorPlant()
    replies = make(kind, plant, **options).feed(conversation)
    asked_for = [r.after_s for r in replies if not r.asynchronous]
    assert asked_for == sorted(asked_for)
    assert asked_for[0] > 0.0
    assert asked_for[-1] == pytest.approx(plant.elapsed_s, abs=1e-2)


def test_a_real_clock_shows_the_wait_for_what_is_under_way() -> None:
    plant = ResistorPlant(stands_still=True)
    chain = make("qontrol", plant)
    first = chain.feed(b"V0=1\n")[0].after_s
    second = chain.feed(b"V1=1\n")[0].after_s
    assert first > 0.0
    assert second == pytest.approx(2 * first)
    plant.now += 1.0
    assert chain.feed(b"V1=1\n")[0].after_s == pytest.approx(first)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("qontrol", "model", "Q9"),
        ("qontrol", "modules", 0),
        ("qontrol", "modules", True),
        ("scpi-source", "dialect", "basic"),
        ("scpi-source", "full_scale_V", "much"),
        ("scpi-digitiser", "channels", 2.5),
        ("opendac", "unit", "kV"),
        ("sr830", "serial", "a\nb"),
    ],
)
def test_a_wrong_option_is_named(kind: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"instruments\.x\.{option}"):
        make(kind, ResistorPlant(), **{option: value})
