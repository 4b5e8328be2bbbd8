"""pyvisa alone, with its Python backend, over raw TCP sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from simulated_bench import ResistorPlant, make, wired

from eqp_hw.sim_backends.virtual_lab.interface import SimulatedInstrument

pyvisa = pytest.importorskip("pyvisa")
pytest.importorskip("pyvisa_py")


@pytest.fixture
def manager() -> Iterator[Any]:
    manager = pyvisa.ResourceManager("@py")
    yield manager
    manager.close()


def opened(manager: Any, resource: str) -> Any:
    return manager.open_resource(
        resource, read_termination="\n", write_termination="\n", timeout=2000
    )


def test_source(manager: Any) -> None:
    plant = ResistorPlant()
    with wired(make("scpi-source", plant, dialect="keysight")) as wire:
        psu = opened(manager, wire.visa)
        assert psu.query("*IDN?").startswith("Keysight Technologies,N6702C,")
        psu.write("VOLT 1.25,(@1:2);:OUTP ON,(@1)")
        assert psu.query_ascii_values("VOLT? (@1:2)") == pytest.approx([1.25, 1.25], abs=1e-3)
        assert psu.query_ascii_values("MEAS:VOLT? (@1:2)") == pytest.approx([1.25, 0], abs=2e-3)
        assert psu.query("SYST:ERR?;*OPC?") == '+0,"No error";1'
        assert plant.voltage_V("x", 0) == pytest.approx(1.25, abs=1e-3)
        psu.close()


@pytest.mark.parametrize("swapped", [False, True])
def test_digitiser_blocks(manager: Any, swapped: bool) -> None:
    plant = ResistorPlant()
    # Values whose bytes hold LF, and ones that look like a block's head.
    plant.levels = np.frombuffer(b"\x0a\x0a\x0a\x0a\x0a\x0a\xef\x3f#15\x0a\x0a\x0a\xe0\x3f" * 64)
    digitiser: SimulatedInstrument = make("scpi-digitiser", plant)
    with wired(digitiser) as wire:
        visa = opened(manager, wire.visa)
        visa.write(f"FORM:DATA REAL,64;BORD {'SWAP' if swapped else 'NORM'}")
        visa.write("ROUT:SCAN (@1:26);:SAMP:COUN 40")
        values = visa.query_binary_values(
            "READ?", datatype="d", is_big_endian=not swapped, container=np.array
        )
        assert np.array_equal(values.reshape(40, 26), np.tile(plant.levels[:26], (40, 1)))
        assert visa.query("SYST:ERR?") == '0,"No error"'
        visa.close()
