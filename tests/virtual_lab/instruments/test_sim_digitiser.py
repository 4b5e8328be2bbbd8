from __future__ import annotations

import numpy as np
import pytest
from simulated_bench import ResistorPlant, make, talk

from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.schema import VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.interface import SimulatedInstrument


@pytest.fixture
def plant() -> ResistorPlant:
    plant = ResistorPlant()
    plant.levels = np.linspace(-1.5, 1.5, 128)
    return plant


def block(digitiser: SimulatedInstrument, order: str = ">f8") -> FloatArray:
    """Read one block by its own length, and see that nothing else came."""
    data = b"".join(r.data for r in digitiser.feed(b"READ?\n"))
    digits = int(data[1:2])
    length = int(data[2 : 2 + digits])
    assert data[:1] + data[2 + digits + length :] == b"#\n"
    return np.frombuffer(data[2 + digits : -1], order)


def test_identity_and_settings(plant: ResistorPlant) -> None:
    digitiser = make("scpi-digitiser", plant, channels=26)
    assert talk(digitiser, "*IDN?") == ["EQP,VDIG-64,VL0001,1.0"]
    assert talk(digitiser, "SYST:CHAN?") == ["26"]
    talk(digitiser, "ROUT:SCAN (@1,5:7);:SENS:AVER:COUN 3;:SAMP:COUN 2;:FORM:BORD SWAP")
    assert talk(digitiser, "ROUT:SCAN?;:SENS:AVER:COUN?;:SAMP:COUN?;:FORM:BORD?") == [
        "(@1,5,6,7);3;2;SWAP"
    ]
    assert talk(digitiser, "SENS:VOLT:RANG?;:FORM?") == ["2.00000000E+00;ASC,9"]


@pytest.mark.parametrize(("order", "dtype"), [("NORM", ">f8"), ("SWAP", "<f8")])
def test_blocks(plant: ResistorPlant, order: str, dtype: str) -> None:
    digitiser = make("scpi-digitiser", plant)
    talk(digitiser, f"FORM:DATA REAL,64;BORD {order};:ROUT:SCAN (@3,1);:SAMP:COUN 5")
    values = block(digitiser, dtype).reshape(5, 2)
    assert np.array_equal(values, np.tile(plant.levels[[2, 0]], (5, 1)))


def test_text(plant: ResistorPlant) -> None:
    digitiser = make("scpi-digitiser", plant)
    values = [float(v) for v in talk(digitiser, "ROUT:SCAN (@3,1);:READ?")[0].split(",")]
    assert values == pytest.approx(plant.levels[[2, 0]], abs=1e-8)
    assert float(talk(digitiser, "MEAS:VOLT? (@7)")[0]) == pytest.approx(plant.levels[6])


def test_bits_range_and_overrange(plant: ResistorPlant) -> None:
    lab = VirtualLabSettings(detector_bits=8, detector_range_V=1.0)
    digitiser = make("scpi-digitiser", plant, lab)
    plant.levels[:4] = [0.5, 1.01, -1.01, -1.0]
    talk(digitiser, "FORM:DATA REAL,64;:ROUT:SCAN (@1:4)")
    values = block(digitiser)
    step = 2.0 / 255
    assert values[0] == pytest.approx(0.5, abs=step / 2)
    assert (values[0] + 1.0) / step == pytest.approx(round((values[0] + 1.0) / step), abs=1e-9)
    assert values[1:].tolist() == [9.91e37, 9.91e37, -1.0]
    talk(digitiser, "SENS:VOLT:RANG 2")
    assert talk(digitiser, "SYST:ERR?") == ['-222,"Data out of range"']
    talk(digitiser, "SENS:VOLT:RANG 0.25;:ROUT:SCAN (@1)")
    assert block(digitiser).tolist() == [9.91e37]


def test_averaging(plant: ResistorPlant) -> None:
    plant.noise_V = 0.1
    digitiser = make("scpi-digitiser", plant, rate_Hz=1e6)
    spreads = []
    for average in (1, 100):
        talk(digitiser, f"SENS:AVER:COUN {average};:FORM:DATA REAL,64")
        talk(digitiser, "ROUT:SCAN (@33);:SAMP:COUN 400")
        start = plant.now
        spreads.append(float(block(digitiser).std()))
        assert plant.now - start == pytest.approx(400e-6 * average, abs=1e-3)
    assert spreads[0] / spreads[1] == pytest.approx(10.0, rel=0.2)


def test_mistakes(plant: ResistorPlant) -> None:
    digitiser = make("scpi-digitiser", plant, channels=4)
    for message, code in [
        ("ROUT:SCAN (@5)", -114),
        ("ROUT:SCAN (@1,1)", -221),
        ("ROUT:SCAN 1", -104),
        ("SAMP:COUN 0", -222),
        ("FORM:DATA REAL,32", -224),
        ("FORM:BORD BACK", -224),
        ("SAMP:COUN 100000;:SENS:AVER:COUN 1000;:READ?", -223),
        ("MEAS:VOLT?", -109),
        ("VOLT? (@1)", -113),
    ]:
        assert talk(digitiser, message) == []
        assert talk(digitiser, "SYST:ERR?")[0].startswith(f"{code},")
    digitiser.power_cycle()
    assert talk(digitiser, "*ESR?;:SAMP:COUN?") == ["128;1"]
