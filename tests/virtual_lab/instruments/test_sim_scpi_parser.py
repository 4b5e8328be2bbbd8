from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.sim_backends.virtual_lab.instruments.scpi.parser import (
    Keyword,
    Pattern,
    parse_block,
    parse_boolean,
    parse_channel_list,
    parse_choice,
    parse_number,
    parse_string,
    parse_unit,
    split_outside,
)
from eqp_hw.sim_backends.virtual_lab.instruments.scpi.status import ScpiError


def code_of(function: object, *arguments: object, **named: object) -> int:
    assert callable(function)
    with pytest.raises(ScpiError) as caught:
        function(*arguments, **named)
    return caught.value.code


words = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=8)
safe_parameters = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.lists(st.integers(1, 99), min_size=1, max_size=4).map(
        lambda c: f"(@{','.join(map(str, c))})"
    ),
    st.text("abc;,:( ", max_size=6).map(lambda t: f'"{t}"'),
    st.sampled_from(["MIN", "ON", "OFF"]),
)


@settings(max_examples=80, deadline=None)
@given(
    units=st.lists(
        st.tuples(
            st.lists(st.tuples(words, st.none() | st.integers(0, 999)), min_size=1, max_size=4),
            st.booleans(),
            st.lists(safe_parameters, max_size=3),
        ),
        min_size=1,
        max_size=4,
    ),
    lower=st.booleans(),
)
def test_what_is_composed_is_parsed(
    units: list[tuple[list[tuple[str, int | None]], bool, list[str]]], lower: bool
) -> None:
    texts = []
    for header, query, parameters in units:
        name = ":".join(w + ("" if n is None else str(n)) for w, n in header)
        name = name.lower() if lower else name
        texts.append(f":{name}{'?' if query else ''} {','.join(parameters)}")
    parts = split_outside(";".join(texts), ";")
    assert len(parts) == len(units)
    for part, (header, query, parameters) in zip(parts, units, strict=True):
        unit = parse_unit(part)
        assert unit is not None
        assert unit.header == tuple(Keyword(w, n) for w, n in header)
        assert unit.query == query
        assert list(unit.parameters) == parameters


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text("ABC:;*?(@)1,2\"' #", max_size=40))
def test_any_text_parses_or_is_a_command_error(text: str) -> None:
    code = -100
    try:
        units = [parse_unit(part) for part in split_outside(text, ";")]
    except ScpiError as error:
        code = error.code
    else:
        assert all(unit is None or unit.header for unit in units)
    assert -200 < code <= -100


def test_paths_go_on_inside_a_message() -> None:
    first = parse_unit("SOUR2:VOLT:LEV 1")
    assert first is not None
    second = parse_unit("PROT 2", first.path)
    assert second is not None
    assert [k.name for k in second.header] == ["SOUR", "VOLT", "PROT"]
    common = parse_unit("*WAI", second.path)
    assert common is not None
    assert common.path == second.path
    rooted = parse_unit(" :OUTP ON", common.path)
    assert rooted is not None
    assert [k.name for k in rooted.header] == ["OUTP"]
    assert parse_unit("  ") is None


@pytest.mark.parametrize(
    ("header", "suffixes"),
    [
        ("SOUR3:VOLT", (3,)),
        ("SOURCE3:VOLTAGE:LEVEL:IMMEDIATE", (3,)),
        ("SOUR:VOLT:IMM", (1,)),
        ("SOUR2:DC:VOLT", (2,)),
        ("SOUR:VOLT1", (1,)),
        ("SOURC:VOLT", None),
        ("SOUR:VOLTA", None),
        ("VOLT", None),
        ("SOUR", None),
        ("SOUR:VOLT:LEV:LEV", None),
    ],
)
def test_patterns(header: str, suffixes: tuple[int, ...] | None) -> None:
    unit = parse_unit(header)
    assert unit is not None
    pattern = Pattern("SOURce#[:DC]:VOLTage[:LEVel][:IMMediate]")
    assert pattern.match(unit.header) == suffixes


def test_a_suffix_where_none_belongs() -> None:
    assert code_of(Pattern("OUTPut:STATe").match, (Keyword("OUTP", 2), Keyword("STAT"))) == -114


@given(st.floats(-1e30, 1e30).filter(lambda x: x == 0 or abs(x) > 1e-30))
def test_numbers_round_trip(value: float) -> None:
    for text in (repr(value), f"{value:.17e}", f" {value:+.17E} "):
        assert parse_number(text) == pytest.approx(value, rel=1e-15)


def test_numbers() -> None:
    assert parse_number("max", minimum=1.0, maximum=4.0) == 4.0
    assert parse_number("MINimum".upper(), minimum=1.0, maximum=4.0) == 1.0
    assert parse_number("DEF", default=2.5) == 2.5
    assert parse_number("12 mV", unit="V") == pytest.approx(0.012)
    assert parse_number(".5kV", unit="V") == 500.0
    assert code_of(parse_number, "12 A", unit="V") == -131
    assert code_of(parse_number, "12 xV", unit="V") == -131
    assert code_of(parse_number, "MAX") == -104
    assert code_of(parse_number, "nan") == -104
    assert code_of(parse_number, "inf") == -104
    assert code_of(parse_number, "1e999") == -123
    assert code_of(parse_number, "5", maximum=4.0) == -222
    assert math.copysign(1.0, parse_number("-0")) == -1.0


def test_words_and_strings() -> None:
    assert [parse_boolean(t) for t in ("on", "2", "0.4", "Off")] == [True, True, False, False]
    assert code_of(parse_boolean, "perhaps") == -104
    assert parse_choice("normal", "NORMal", "SWAPped") == "NORM"
    assert code_of(parse_choice, "norma", "NORMal") == -224
    assert parse_string("'it''s'") == "it's"
    assert code_of(parse_string, "bare") == -104


def test_channel_lists() -> None:
    assert parse_channel_list("(@1,3:5)", 8) == [0, 2, 3, 4]
    assert parse_channel_list("( @1)".replace("( ", "("), 8) == [0]
    assert parse_channel_list("(@5:3)", 8) == [4, 3, 2]
    for text, code in [
        ("(@9)", -114),
        ("(@0)", -114),
        ("(@1:9)", -114),
        ("(@)", -102),
        ("(1)", -102),
        ("1", -104),
        ("(@1;2)", -102),
    ]:
        assert code_of(parse_channel_list, text, 8) == code


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=3))
def test_blocks(payload: bytes, more: bytes) -> None:
    length = str(len(payload)).encode()
    block = b"#" + str(len(length)).encode() + length + payload
    assert parse_block(block) == payload
    assert code_of(parse_block, block + more) == -161
    assert code_of(parse_block, block[:-1] if payload else block[:1]) == -161


def test_open_ends() -> None:
    assert code_of(split_outside, "A 'b", ";") == -151
    assert code_of(split_outside, "A (b", ";") == -102
    assert code_of(split_outside, "A b)", ";") == -102
    assert code_of(parse_unit, "A::B") == -102
    assert code_of(parse_unit, "*") == -102
    assert code_of(parse_unit, "A*B") == -102
    assert code_of(parse_unit, "A" * 30) == -112
    assert code_of(parse_unit, ":".join("A" * 20)) == -113
