from __future__ import annotations

import numpy as np
import pytest
from simulated_bench import ResistorPlant, make, talk

from eqp_hw.rig.schema import VirtualLabSettings


@pytest.fixture
def plant() -> ResistorPlant:
    plant = ResistorPlant()
    plant.levels = np.array([0.3, 0.4, 1.5, 0.0])
    return plant


class TestPm100:
    def test_reading(self, plant: ResistorPlant) -> None:
        meter = make("pm100", plant, channel=2)
        assert talk(meter, "*IDN?") == ["Thorlabs,PM100D,P0000001,2.4.0"]
        assert talk(meter, "SYST:SENS:IDN?")[0].startswith("S132C,")
        talk(meter, "CONF:POW;:SENS:CORR:WAV 1310;:SENS:AVER:COUN 10;:SENS:POW:RANG:AUTO ON")
        assert float(talk(meter, "READ?")[0]) == pytest.approx(1.5e-3)
        assert float(talk(meter, "FETC?")[0]) == pytest.approx(1.5e-3)
        assert talk(meter, "SENS:CORR:WAV?") == ["1.31000000E+03"]
        assert float(talk(meter, "SENS:POW:RANG?")[0]) == 5e-3
        talk(meter, "POW:UNIT DBM")
        assert float(talk(meter, "MEAS:POW?")[0]) == pytest.approx(10 * np.log10(1.5))

    def test_range_zero_and_bits(self, plant: ResistorPlant) -> None:
        meter = make("pm100", plant, VirtualLabSettings(detector_bits=8), watt_per_volt=1e-3)
        talk(meter, "SENS:POW:RANG 3e-4")
        assert talk(meter, "SENS:POW:RANG:AUTO?;:READ?") == ["0;3.00781250E-04"]
        talk(meter, "SENS:POW:RANG 5e-5")
        assert float(talk(meter, "READ?")[0]) == 9.91e37
        talk(meter, "SENS:POW:RANG:AUTO ON;:SENS:CORR:COLL:ZERO")
        assert float(talk(meter, "READ?")[0]) == 0.0
        talk(meter, "SENS:CORR:WAV 100")
        assert talk(meter, "SYST:ERR?") == ['-222,"Data out of range"']


class TestSr830:
    def test_reading(self, plant: ResistorPlant) -> None:
        lock_in = make("sr830", plant)
        assert talk(lock_in, "*IDN?")[0].startswith("Stanford_Research_Systems,SR830,")
        assert talk(lock_in, "SNAP?1,2,3,9") == ["0.3,0.4,0.5,1000"]
        assert float(talk(lock_in, "OUTP? 4")[0]) == pytest.approx(53.1301)
        frequency, x, y = talk(lock_in, "FREQ 137.5;APHS;FREQ?;OUTP?1;OUTP?2")
        assert (frequency, x) == ("137.5", "0.5")
        assert abs(float(y)) < 1e-9
        assert float(talk(lock_in, "PHAS?")[0]) == pytest.approx(53.13)

    def test_overload(self, plant: ResistorPlant) -> None:
        lock_in = make("sr830", plant)
        talk(lock_in, "SENS 24")
        assert talk(lock_in, "SENS?") == ["24"]
        assert talk(lock_in, "OUTP?1;LIAS?;LIAS?") == ["0.218", "4", "0"]
        assert talk(lock_in, "SENS 26;OUTP?1;LIAS?") == ["0.3", "0"]

    def test_mistakes_are_silent(self, plant: ResistorPlant) -> None:
        lock_in = make("sr830", plant)
        assert talk(lock_in, "*ESR?") == ["128"]
        for message, bit in [
            ("BOGUS?", 32),
            ("FREQ x", 32),
            ("SENS 30", 16),
            ("SNAP?1", 16),
            ("SNAP?1,99", 16),
            ("OUTP? 5", 16),
            ("FREQ", 32),
            ("FREQ 1,\x1c2\x853", 32),
            ("SNAP?1," + "9" * 200 + "e99", 32),
            ("x" * 300, 1),
        ]:
            assert talk(lock_in, message) == []
            assert talk(lock_in, "*ESR?") == [str(bit)]

    def test_auxiliary_outputs(self, plant: ResistorPlant) -> None:
        lock_in = make("sr830", plant)
        talk(lock_in, "AUXV 2,1.2345")
        assert plant.voltage_V("x", 1) == pytest.approx(1.2345, abs=1e-3)
        assert talk(lock_in, "AUXV? 2") == ["1.234"]
        lock_in.power_cycle()
        assert plant.outputs(4) == [0.0] * 4
