"""Bytes of the instruments: what is formatted parses back, what is no reply never passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.drivers.instruments import opendac_wire, qontrol_wire, scpi_wire
from eqp_hw.drivers.instruments.scpi_dialects import DIALECTS, volts
from eqp_hw.sim_backends.virtual_lab.instruments import qontrol_grammar
from eqp_hw.sim_backends.virtual_lab.instruments.scpi import parser

QUICK = settings(deadline=None, max_examples=80)
CODES = st.integers(0, qontrol_wire.TOP_CODE)


@QUICK
@given(
    channels=st.sets(st.integers(0, 63), min_size=1, max_size=24),
    data=st.data(),
    binary=st.booleans(),
)
def test_qontrol_messages_say_what_was_meant(
    channels: set[int], data: st.DataObject, binary: bool
) -> None:
    """The simulator's own grammar, written apart, reads back every code, cut off or rounded."""
    index = np.array(sorted(channels))
    codes = np.array(data.draw(st.lists(CODES, min_size=len(index), max_size=len(index))))
    full_V = 12.0
    seen: dict[int, float] = {}
    for run, message in qontrol_wire.set_messages(index, codes, full_V, binary=binary):
        if binary:
            assert qontrol_grammar.frame_length(message) == len(message)
            assert message[0] & 0x80
            assert qontrol_grammar.has_even_parity(message[0])
            request = qontrol_grammar.parse_frame(message)
        else:
            assert message.endswith(b"\n")
            request = qontrol_grammar.parse_line(message[:-1])
        assert request is not None
        assert request.channel == index[run][0]
        assert len(request.values) == len(index[run]) <= 8
        assert request.name == ("V" if len(request.values) == 1 else "VVEC")
        first, last = request.channel // 8, (request.channel + len(request.values) - 1) // 8
        assert first == last
        for offset, value in enumerate(request.values):
            assert value is not None
            fraction = value if request.fractions else value / full_V
            seen[request.channel + offset] = fraction * qontrol_wire.TOP_CODE
    assert sorted(seen) == index.tolist()
    got = np.array([seen[int(k)] for k in index])
    assert np.array_equal(np.floor(got + 1e-6), codes)
    assert np.array_equal(np.rint(got), codes)
    assert (got <= qontrol_wire.TOP_CODE).all()


def test_qontrol_neighbours_go_together() -> None:
    runs = qontrol_wire.runs(np.array([0, 1, 2, 5, 6, 7, 8, 9, 16]))
    assert [(run.start, run.stop) for run in runs] == [(0, 3), (3, 6), (6, 8), (8, 9)]
    assert qontrol_wire.runs(np.array([], dtype=int)) == []


@QUICK
@given(line=st.binary(max_size=24))
def test_qontrol_lines_are_one_thing_at_most(line: bytes) -> None:
    text = qontrol_wire.strip_line(line)
    kinds = 0
    for parse in (
        qontrol_wire.parse_identity,
        qontrol_wire.parse_ok,
        qontrol_wire.number_in("V"),
        qontrol_wire.number_in("mA"),
    ):
        try:
            parse(text)
        except ValueError:
            continue
        kinds += 1
    kinds += qontrol_wire.parse_event(text) is not None
    assert kinds <= 1


def test_qontrol_lines_as_recorded() -> None:
    assert qontrol_wire.number_in("V")(b"+4.4983 V") == 4.4983
    assert qontrol_wire.number_in("mA")(b"-0.0038 mA") == -0.0038
    assert str(qontrol_wire.parse_identity(b"Q8iv-0001: 0")) == "Q8iv-0001"
    assert qontrol_wire.parse_identity(b"Q8b-****").serial == "****"
    event = qontrol_wire.parse_event(b"E01:06")
    assert event is not None
    assert (event.code, event.channel, event.text) == (1, 6, "over-voltage")
    assert qontrol_wire.strip_line(b"\x00\x06OK\r") == b"OK"
    for bad in (b"+4.49", b"4.4983 mA", b"nan V", b"+1e3 V", b""):
        with pytest.raises(ValueError, match="V"):
            qontrol_wire.number_in("V")(bad)


@QUICK
@given(channels=st.sets(st.integers(0, 63), min_size=1))
def test_channel_lists(channels: set[int]) -> None:
    index = sorted(channels)
    assert parser.parse_channel_list(scpi_wire.channel_list(index), 64) == index


@QUICK
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["VOLT 1", "*TRG", "MEAS:VOLT?", "INST:NSEL 2;:VOLT?"])),
        min_size=1,
        max_size=60,
    )
)
def test_joined_lines_hold_every_part_once(parts: list[tuple[str]]) -> None:
    units = [scpi_wire.Part(text, text.endswith("?")) for (text,) in parts]
    lines = scpi_wire.joined(units, longest=120)
    assert all(count >= 1 for _, count in lines)
    texts: list[str] = []
    for line, _ in lines:
        assert len(line) <= 140
        texts += [unit for unit in line.split(";") if unit != "*OPC?"]
    wanted = ";".join(unit.text for unit in units).replace(";:", ";").split(";")
    assert [text.removeprefix(":") for text in texts] == wanted
    # A header after a semicolon starts from the root again.
    assert all(unit.startswith((":", "*")) for line, _ in lines for unit in line.split(";")[1:])
    assert sum(count for _, count in lines) >= sum(unit.answers for unit in units)


def test_answers_are_split_outside_quotes() -> None:
    answers = scpi_wire.split_answers('+1.2E0,3;-113,"Undefined header; near X";0')
    assert answers == ["+1.2E0,3", '-113,"Undefined header; near X"', "0"]


@QUICK
@given(
    value=st.floats(-1e6, 1e6, allow_nan=False),
    text=st.sampled_from(["{:.6E}", "{:+.6g}", "{:.7f}"]),
)
def test_numbers_parse(value: float, text: str) -> None:
    assert scpi_wire.parse_number(text.format(value)) == pytest.approx(value, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("text", ["", "1,2", "nan", "inf", "9.91E+37", "-9.91E+37", "0x1", "1 2"])
def test_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a number|overrange"):
        scpi_wire.parse_number(text)


def test_error_queue_entries() -> None:
    assert scpi_wire.parse_report('0,"No error"') is None
    assert scpi_wire.parse_report('+0, "No error"') is None
    assert scpi_wire.parse_report('-222,"Data out of range"') == scpi_wire.ScpiReport(
        -222, "Data out of range"
    )
    with pytest.raises(ValueError, match="form"):
        scpi_wire.parse_report("1.25")
    tsp = DIALECTS["keithley-tsp"]
    assert tsp.parse_report("0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00") is None
    report = tsp.parse_report("-2.85000e+02\tTSP Syntax error\t2.00000e+01\t1.00000e+00")
    assert report == scpi_wire.ScpiReport(-285, "TSP Syntax error")


@QUICK
@given(
    values=st.lists(st.floats(-2, 2), min_size=6, max_size=6),
    swapped=st.booleans(),
)
def test_blocks_round_trip(values: list[float], swapped: bool) -> None:
    array = np.array(values).reshape(2, 3)
    data = array.astype("<f8" if swapped else ">f8").tobytes()
    read = scpi_wire.block_values(data, 2, 3, swapped=swapped, largest=2.0)
    assert np.array_equal(read, array)
    with pytest.raises(ValueError, match="bytes"):
        scpi_wire.block_values(data[:-1], 2, 3, swapped=swapped, largest=2.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "not a number"), (9.91e37, "overrange"), (np.inf, "overrange"), (3.0, "possible")],
)
def test_impossible_values_name_their_place(value: float, message: str) -> None:
    array = np.zeros((2, 3))
    array[1, 2] = value
    with pytest.raises(ValueError, match=f"column 2, sample 1.*{message}"):
        scpi_wire.block_values(array.tobytes(), 2, 3, swapped=True, largest=2.0)


@QUICK
@given(code=st.integers(-opendac_wire.TOP_CODE, opendac_wire.TOP_CODE), unit=st.booleans())
def test_opendac_codes_survive_cutting_off(code: int, unit: bool) -> None:
    dialect = list(opendac_wire.DIALECTS.values())[unit]
    message = dialect.set_message(3, code).decode()
    word, channel, value = message.split(",")
    assert (word, channel) == ("SET", "3")
    got = float(value) / dialect.per_V / opendac_wire.FULL_SCALE_V * opendac_wire.TOP_CODE
    assert int(got + np.copysign(1e-6, got)) == code
    assert abs(got) <= opendac_wire.TOP_CODE * (1 + 1e-9)


def test_opendac_acknowledgement_must_name_channel_and_unit() -> None:
    in_V, in_mV = opendac_wire.DIALECTS.values()
    assert opendac_wire.parse_update(b"DAC 0 UPDATED TO 1.0000V", 0, in_V) == 1.0
    assert opendac_wire.parse_update(b"DAC 0 UPDATED TO 1000.0000mV", 0, in_mV) == 1.0
    for line, channel, dialect in (
        (b"DAC 0 UPDATED TO 1.0000V", 1, in_V),
        (b"DAC 0 UPDATED TO 1.0000V", 0, in_mV),
        (b"DAC 0 UPDATED TO V", 0, in_V),
    ):
        with pytest.raises(ValueError, match="not an update"):
            opendac_wire.parse_update(line, channel, dialect)
    with pytest.raises(ValueError, match="another unit"):
        opendac_wire.parse_volts(b"1000.0", in_V)


@QUICK
@given(value=st.floats(-40, 40, allow_nan=False))
def test_volts_as_text(value: float) -> None:
    text = volts(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("name", list(DIALECTS))
def test_dialects_set_and_ask_the_same_channels(name: str) -> None:
    dialect = DIALECTS[name]  # type: ignore[index]
    channels = np.array([0, 2, 3])
    parts = dialect.set_voltages(channels, np.array([0.5, 1.0, 0.5]))
    assert not any(part.answers for part in parts)
    asked = dialect.read_back(channels)
    assert all(part.answers for part in asked)
    # Keysight sets equal values together; all others one unit a channel.
    assert len(parts) == (2 if name == "keysight" else 3)
    text = " ".join(part.text for part in [*parts, *asked])
    assert "5" in text
    assert "nan" not in text
