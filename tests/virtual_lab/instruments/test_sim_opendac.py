from __future__ import annotations

import numpy as np
import pytest
from simulated_bench import ResistorPlant, make, talk

from eqp_hw.rig.schema import VirtualLabSettings


@pytest.fixture
def plant() -> ResistorPlant:
    plant = ResistorPlant()
    plant.levels = np.linspace(0.1, 12.8, 128)
    return plant


def test_volts(plant: ResistorPlant) -> None:
    board = make("opendac", plant)
    assert talk(board, "*IDN?", b"\r") == ["DAC-ADC_AD7734-AD5764"]
    assert board.feed(b"*RDY?\r\n")[0].data == b"READY\r\n"
    assert talk(board, "SET,2,1.5", b"\r") == ["DAC 2 UPDATED TO 1.5000V"]
    assert plant.voltage_V("x", 2) == int(1.5 / 10 * 32767) / 32767 * 10
    assert talk(board, "GET_DAC,2", b"\r") == ["1.5000"]
    assert talk(board, "GET_ADC,1", b"\r") == ["0.2000"]


def test_millivolts(plant: ResistorPlant) -> None:
    board = make("opendac", plant, VirtualLabSettings(source_bits=None), unit="mV")
    assert talk(board, "*IDN?", b"\r") == ["DAC-ADC_AD7734-AD5764_UNIT2"]
    assert talk(board, "SET,7,-1500", b"\r") == ["DAC 7 UPDATED TO -1500.0000mV"]
    assert plant.voltage_V("x", 7) == -1.5
    assert talk(board, "GET_ADC,1", b"\r") == ["200.0000"]
    assert talk(board, "SET,7,10001", b"\r") == ["VOLTAGE_OVERRANGE"]


def test_what_the_firmware_makes_of_nonsense(plant: ResistorPlant) -> None:
    board = make("opendac", plant)
    talk(board, "SET,0,1", b"\r")
    before = dict(plant.driven)
    for line in ["", "BOGUS", "set,0,2", "SET,0", "SET", "GET_ADC,9", "GET_DAC,-1", "a" * 600]:
        assert talk(board, line, b"\r") == ["NOP"]
    assert talk(board, "SET,0,10.5", b"\r") == ["VOLTAGE_OVERRANGE"]
    assert talk(board, "SET,9,1", b"\r")[0].startswith("DAC 9 UPDATED TO")
    assert plant.driven == before
    assert talk(board, "SET,0,oops", b"\r") == ["DAC 0 UPDATED TO 0.0000V"]
    assert plant.voltage_V("x", 0) == 0.0


def test_overrange_of_the_converter_reads_zero(plant: ResistorPlant) -> None:
    plant.levels[0] = 10.5
    assert talk(make("opendac", plant), "GET_ADC,0", b"\r") == ["0.0000"]


def test_buffer_ramp(plant: ResistorPlant) -> None:
    board = make("opendac", plant)
    start = plant.now
    replies = board.feed(b"BUFFER_RAMP,01,02,-1,0,1,2,11,500\r")
    assert replies[-1].data == b"BUFFER_RAMP_FINISHED\r\n"
    readings = np.frombuffer(replies[0].data, ">u2").reshape(11, 2) / 65535 * 20 - 10
    assert readings == pytest.approx(np.tile(plant.levels[[0, 2]], (11, 1)), abs=2e-4)
    first = [v for at, channel, v in plant.history if at > start and channel == 0]
    assert first == pytest.approx(np.linspace(-1, 1, 11), abs=1e-3)
    assert plant.outputs(2) == pytest.approx([1.0, 2.0], abs=1e-3)
    assert plant.now - start > 11 * (500e-6 + 2 * 394e-6)
    assert talk(board, "BUFFER_RAMP,0,9,0,1,5,5", b"\r") == ["NOP"]
    assert talk(board, "RAMP1,0,1,0,5,100", b"\r") == ["RAMP_FINISHED"]
    assert plant.voltage_V("x", 0) == 0.0


def test_conversion_time(plant: ResistorPlant) -> None:
    board = make("opendac", plant)
    assert int(talk(board, "CONVERT_TIME,0,1000", b"\r")[0]) == pytest.approx(1000, abs=11)
    start = plant.now
    talk(board, "GET_ADC,0", b"\r")
    assert plant.now - start > 2e-3
