from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulated_bench import ResistorPlant, make, talk

from eqp_hw.rig.schema import VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.instruments.qontrol_grammar import (
    COMMAND_CODES,
    Header,
    Request,
    frame_length,
    has_even_parity,
    parse_frame,
    parse_line,
)
from eqp_hw.sim_backends.virtual_lab.interface import SimulatedInstrument

Operator = Literal["=", "?", ""]
OPERATORS: tuple[Operator, ...] = ("=", "?", "")
STEP_V = 12.0 / 0xFFFF


def frame(command: int, channel: int, words: list[int], flags: int = 0) -> bytes:
    """Build a binary frame from the vendor's description, independently of the parser."""
    header = 0x80 | flags
    if bin(header).count("1") % 2:
        header |= 0x01
    data = b"".join(bytes([w >> 8, w & 0xFF]) for w in words)
    count = bytes([len(words) >> 8, len(words) & 0xFF]) if flags & 0x02 else b""
    return bytes([header, command, 0, channel >> 8, channel & 0xFF]) + count + data


@pytest.fixture
def plant() -> ResistorPlant:
    return ResistorPlant()


@pytest.fixture
def chain(plant: ResistorPlant) -> SimulatedInstrument:
    return make("qontrol", plant, modules=2)


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: float(f"{x:.6g}"))


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(["V", "I", "VMAX", "imax", "nup", "VVEC", "vfull"]),
    target=st.one_of(st.none(), st.just("all"), st.integers(0, 99999)),
    op=st.sampled_from(OPERATORS),
    values=st.lists(numbers, min_size=1, max_size=8),
)
def test_what_is_written_is_read(
    name: str, target: int | str | None, op: Operator, values: list[float]
) -> None:
    text = f"{name}{'' if target is None else target}{op}"
    text += ",".join(f"{v!r}" for v in values) if op == "=" else ""
    assert parse_line(text.encode()) == Request(
        name.upper(),
        target if isinstance(target, int) else None,
        target == "all",
        op,
        tuple(values) if op == "=" else (),
    )


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_lines_and_frames_of_any_bytes_parse_or_not(data: bytes) -> None:
    request = parse_line(data)
    assert request is None or request.name.isupper()
    length = frame_length(data)
    if length is not None and len(data) >= length:
        read = parse_frame(data[:length])
        assert read is None or read.name.removesuffix("VEC") in COMMAND_CODES.values()
        assert read is None or all(v is None or 0.0 <= v <= 1.0 for v in read.values)


@given(st.integers(0, 255))
def test_parity(byte: int) -> None:
    assert has_even_parity(byte) == (bin(byte).count("1") % 2 == 0)


def test_identity_and_enumeration(chain: SimulatedInstrument) -> None:
    assert talk(chain, "id?") == ["Q8iv-0001"]
    assert talk(chain, "idall?") == ["Q8iv-0001", "Q8iv-0002"]
    assert talk(chain, "nup=0") == ["\x06OK", "\x06OK"]
    assert talk(chain, "nupall?") == ["\0Q8iv-0001: 0", "Q8iv-0002: 1"]
    assert talk(chain, "NUPALL?") == ["Q8iv-0001: 0", "Q8iv-0002: 1"]
    assert talk(make("qontrol", ResistorPlant(), serial=0), "ID?") == ["Q8iv-****"]


def test_constants(chain: SimulatedInstrument) -> None:
    assert talk(chain, "VFULL?") == ["+12.0000 V"]
    assert talk(chain, "ifull?") == ["+24.0000 mA"]
    assert talk(chain, "NCHAN?") == ["8"]
    assert talk(chain, "FIRMWARE?") == ["v2.4.1"]
    assert talk(chain, "LIFETIME?")[0].endswith(" s")
    assert talk(make("qontrol", ResistorPlant(), model="Q8b"), "IFULL?") == ["+83.3330 mA"]


def test_set_is_quantised_and_read_is_measured(
    chain: SimulatedInstrument, plant: ResistorPlant
) -> None:
    assert talk(chain, "V3=4.5") == ["OK"]
    driven = plant.voltage_V("x", 3)
    assert driven == round(4.5 / STEP_V) * STEP_V
    line = talk(chain, "v3?")[0]
    assert line[:3] + line[-2:] == "+4. V"
    assert float(line[:-2]) == pytest.approx(4.5, abs=2e-3)
    assert float(talk(chain, "I3?")[0].removesuffix(" mA")) == pytest.approx(9.0, abs=0.02)
    assert len(talk(chain, "VALL?")) == len(talk(chain, "IALL?")) == 16
    both = talk(chain, "VIPALL?")
    assert both[3].startswith("0,3: +4.")
    assert both[15].startswith("1,7: ")


def test_bits_of_the_converter() -> None:
    plant = ResistorPlant()
    chain = make("qontrol", plant, VirtualLabSettings(source_bits=4))
    talk(chain, "V0=4.5")
    assert plant.voltage_V("x", 0) == pytest.approx(round(4.5 / 12 * 15) * 12 / 15)
    plant = ResistorPlant()
    talk(make("qontrol", plant, VirtualLabSettings(source_bits=None)), "V0=4.4321")
    assert plant.voltage_V("x", 0) == 4.4321


def test_current_source(plant: ResistorPlant, chain: SimulatedInstrument) -> None:
    assert talk(chain, "I2=10") == ["OK"]
    assert plant.current_A("x", 2) == pytest.approx(10e-3, abs=1e-6)
    plant.resistance_ohm = float("inf")
    assert talk(chain, "I2=10") == ["OK", "E01:02"]
    assert plant.voltage_V("x", 2) == 0.0


def test_vectors(plant: ResistorPlant, chain: SimulatedInstrument) -> None:
    assert talk(chain, "VVEC8=1,2,3,4,5,6,7,8") == ["OK"]
    assert plant.outputs(16) == pytest.approx([0.0] * 8 + list(range(1, 9)), abs=STEP_V)
    assert talk(chain, "VALL=0") == ["OK"]
    assert plant.outputs(16) == [0.0] * 16
    before = plant.outputs(16)
    assert talk(chain, "VVEC0=" + ",".join("1.5" for _ in range(16))) == ["E14:00", "E15:00"]
    assert talk(chain, "VVEC6=1,1,1") == ["E12:08"]
    assert talk(chain, "VVEC0=1,x") == ["E11:01"]
    assert talk(chain, "VVEC0=" + "1.0000000000000000000000," * 8) == ["E14:00", "E15:00"]
    assert plant.outputs(16) == before


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("hello", "E10:00"),
        ("V3", "E11:00"),
        ("V3=abc", "E11:03"),
        ("V3=nan", "E11:03"),
        ("V3=inf", "E11:03"),
        ("V3=-1", "E11:03"),
        ("V3=1,2", "E11:03"),
        ("V16=1", "E12:16"),
        ("V=1", "E12:00"),
        ("V3?x", "E10:00"),
        ("VMAX2=12.5", "E11:02"),
        ("VCAL0=1", "E13:00"),
        ("SAFE=1", "E13:00"),
        ("\xff\xfe", None),
    ],
)
def test_mistakes(
    plant: ResistorPlant, chain: SimulatedInstrument, line: str, answer: str | None
) -> None:
    assert talk(chain, line) == ([] if answer is None else [answer])
    assert plant.outputs(16) == [0.0] * 16


def test_voltage_limit_is_reported_after_ok(
    plant: ResistorPlant, chain: SimulatedInstrument
) -> None:
    assert talk(chain, "VMAX5=3") == ["OK"]
    assert talk(chain, "VMAX5?") == ["+3.0000 V"]
    talk(chain, "V5=2.9")
    replies = chain.feed(b"V5=3.1\n")
    assert [r.data for r in replies] == [b"OK\n", b"E01:05\n"]
    assert [r.asynchronous for r in replies] == [False, True]
    assert replies[1].after_s > replies[0].after_s
    assert plant.voltage_V("x", 5) == 0.0


@given(st.floats(0.5, 11.5))
@example(1.000776675379769)
@settings(max_examples=40, deadline=None)
def test_the_limit_itself_is_allowed(volts: float) -> None:
    chain = make("qontrol", ResistorPlant(), modules=1)
    assert talk(chain, f"VMAX0={volts:.5f}") == ["OK"]
    assert talk(chain, f"IMAX0={2 * volts:.5f}") == ["OK"]
    assert talk(chain, f"V0={volts:.5f}") == ["OK"]
    assert talk(chain, f"V0={volts + 2 * STEP_V:.5f}") == ["OK", "E01:00"]


def test_current_limit_is_reported_after_ok(
    plant: ResistorPlant, chain: SimulatedInstrument
) -> None:
    talk(chain, "IMAXALL=8")
    assert talk(chain, "IMAX5?")[0] == "+8.0000 mA"
    assert talk(chain, "VVEC0=3.9,4.1,1,4.2") == ["OK", "E02:01", "E02:03"]
    assert plant.outputs(4) == pytest.approx([3.9, 0.0, 1.0, 0.0], abs=STEP_V)
    assert talk(chain, "IMAX0=1") == ["OK", "E02:00"]
    plant.resistance_ohm = 100.0
    assert talk(chain, "V2=12") == ["OK", "E02:02"]


@pytest.mark.parametrize("code", [0, 1, 0x7FFF, 0x8000, 0x0A0A, 0xFFFF])
def test_binary_set_and_read(plant: ResistorPlant, chain: SimulatedInstrument, code: int) -> None:
    assert [r.data for r in chain.feed(frame(0x00, 9, [code]))] == [b"OK\n"]
    assert plant.voltage_V("x", 9) == pytest.approx(code * STEP_V, abs=1e-9)
    read = chain.feed(frame(0x00, 9, [0], flags=0x08))[0].data
    assert float(read.split()[0]) == pytest.approx(code * STEP_V, abs=2e-3)


def test_binary_vectors_and_broadcast(plant: ResistorPlant, chain: SimulatedInstrument) -> None:
    codes = [1000 * k for k in range(8)]
    assert [r.data for r in chain.feed(frame(0x00, 8, codes, flags=0x02))] == [b"OK\n"]
    assert plant.outputs(16)[8:] == pytest.approx([c * STEP_V for c in codes], abs=1e-9)
    assert len(chain.feed(frame(0x00, 0, [0], flags=0x28))) == 16
    assert [r.data for r in chain.feed(frame(0x24, 0, [0], flags=0x48))] == [
        b"Q8iv-0001\n",
        b"Q8iv-0002\n",
    ]
    module_2 = frame(0x00, 0, [0xFFFF], flags=0x10)[:2] + b"\x00\x02\x03\xff\xff"
    assert [r.data for r in chain.feed(module_2)] == [b"OK\n"]
    assert plant.voltage_V("x", 11) == pytest.approx(12.0)
    chain.feed(frame(0x00, 0, [0], flags=0x20))
    assert plant.outputs(16) == [0.0] * 16


def test_binary_mistakes(plant: ResistorPlant, chain: SimulatedInstrument) -> None:
    good = frame(0x00, 0, [0x1234])
    assert [r.data for r in chain.feed(bytes([good[0] ^ 0x01]) + good[1:])] == [b"E15:00\n"]
    assert [r.data for r in chain.feed(frame(0x77, 0, [1]))] == [b"E10:00\n"]
    assert [r.data for r in chain.feed(frame(0x00, 300, [1]))] == [b"E12:99\n"]
    nine = frame(0x00, 0, [1] * 9, flags=0x02)
    assert [r.data for r in chain.feed(nine)] == [b"E14:00\n", b"E15:00\n"]
    assert plant.outputs(16) == [0.0] * 16
    assert talk(chain, "id?") == ["Q8iv-0001"]


def test_half_a_frame_is_given_up_after_a_while(
    plant: ResistorPlant, chain: SimulatedInstrument
) -> None:
    half = frame(0x00, 0, [0x1234])[:5]
    assert chain.feed(half) == []
    plant.now += 1.0
    assert talk(chain, "V1=1") == ["E16:00", "OK"]
    assert plant.voltage_V("x", 0) == 0.0
    chain.feed(half)
    for _ in range(5):  # a look at the clock is no sign of life of the client
        plant.now += 0.2
        looked = [reply.data for reply in chain.feed(b"")]
        if looked:
            break
    assert looked == [b"E16:00\n"]
    chain.feed(half)
    assert talk(chain, "id?") == ["OK", "E10:00"]  # "id" became its data
    assert plant.voltage_V("x", 0) == pytest.approx(0x6964 * STEP_V)


def test_power_cycle_loses_everything(plant: ResistorPlant, chain: SimulatedInstrument) -> None:
    talk(chain, "VMAX0=3")
    talk(chain, "V1=5")
    chain.feed(b"V2=")
    woken = chain.power_cycle()
    assert [(r.data, r.asynchronous) for r in woken] == [(b"E90:00\n", True)]
    assert plant.outputs(16) == [0.0] * 16
    assert talk(chain, "7") == ["E10:00"]
    assert talk(chain, "VMAX0?") == ["+12.0000 V"]


def test_log(plant: ResistorPlant, chain: SimulatedInstrument) -> None:
    talk(chain, "nonsense")
    plant.now += 16 * 60
    assert talk(chain, "LOG?") == ["#  0, E10:00, 16 m ago", "#  1, E90:00, 16 m ago"]
    for _ in range(100):
        talk(chain, "nonsense")
    assert len(talk(chain, "LOG?")) == 64


def test_ok_of_every_module() -> None:
    chain = make("qontrol", ResistorPlant(), modules=3, ok_per_module=True)
    assert talk(chain, "VALL=0") == ["OK"] * 3
    assert talk(chain, "V0=0") == ["OK"]


def test_durations_are_those_recorded(chain: SimulatedInstrument, plant: ResistorPlant) -> None:
    def lasts_s(data: bytes) -> float:
        start = plant.now
        chain.feed(data)
        return plant.now - start

    assert 3e-3 < lasts_s(b"V0=1.2345\n") < 8e-3
    assert lasts_s(frame(0x00, 0, [1])) < lasts_s(b"V0=1.2345\n")
    assert 20e-3 < lasts_s(b"VALL?\n") < 40e-3
    assert 0.3 < lasts_s(b"VIPALL?\n") < 0.45


def test_seeded_readings_repeat() -> None:
    readings = [talk(make("qontrol", ResistorPlant(), seed=5), "VALL?") for _ in range(2)]
    other = talk(make("qontrol", ResistorPlant(), seed=6), "VALL?")
    assert readings[0] == readings[1] != other
    assert np.std([float(line[:-2]) for line in other]) < 1e-3


def test_header_bits_are_the_vendor_s() -> None:
    assert [int(bit) for bit in (Header.BIN, Header.BCAST, Header.ALLCH, Header.ADDM)] == [
        0x80,
        0x40,
        0x20,
        0x10,
    ]
