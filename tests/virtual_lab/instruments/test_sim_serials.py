"""Another truth seed is another bench: its instruments say so."""

import tomllib

import numpy as np
import pytest

from eqp_hw.drivers.rig.bench import Bench
from eqp_hw.rig.load import make_rig
from eqp_hw.rig.schema import InstrumentSettings
from eqp_hw.sim_backends.virtual_lab.instruments import SIMULATORS
from eqp_hw.sim_backends.virtual_lab.instruments.serials import numbered
from eqp_hw.sim_backends.virtual_lab.twin import Twin

KINDS = [
    ("qontrol", {"modules": 2}),
    *(("scpi-source", {"dialect": d}) for d in ("keysight", "rohde-schwarz", "qdac2")),
    ("scpi-source", {"dialect": "keithley-tsp"}),
    ("scpi-digitiser", {}),
    ("pm100", {}),
    ("sr830", {}),
]


class Nothing:
    """A plant that nobody looks at."""

    now_s = 0.0

    def elapse(self, duration_s):
        pass

    def set_voltage(self, instrument, channel, voltage_V):
        pass


def identity(kind, options, seed):
    table = InstrumentSettings(kind=kind, address="tcp:x:1", **options)
    made = SIMULATORS[kind]("it", numbered(table, seed), Nothing(), np.random.default_rng(0))
    question = {"qontrol": b"ID?\n", "opendac": b"*IDN?\r"}.get(kind, b"*IDN?\n")
    return b"".join(reply.data for reply in made.feed(question))


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_seeds_are_told_by_the_serial_number(kind, options):
    said = [identity(kind, options, seed) for seed in (0, 1, 2, 1)]
    assert said[1] == said[3]
    assert len(set(said)) == 3
    assert all(said)


def test_a_stated_serial_number_stays():
    options = {"modules": 1, "serial": 77}
    assert identity("qontrol", options, 3) == identity("qontrol", options, 4)


def test_an_opendac_tells_none():
    assert identity("opendac", {}, 1) == identity("opendac", {}, 2) != b""


def test_the_drivers_see_who_it_is_whatever_the_firmware(tiny_rig_path):
    rig = make_rig(tomllib.loads(tiny_rig_path.read_text(encoding="utf-8")))
    found = []
    for seed in (0, 5):
        with Twin(rig, truth_seed=seed) as twin, Bench(twin.rig) as bench:
            bench.connect()
            found.append(bench.lasting_identities)
    assert found[0] == {
        "detectors": "EQP,VDIG-64,VL0001",
        "heaters": "Q8iv-0001,Q8iv-0002,Q8iv-0003",
    }
    assert found[1] == {
        "detectors": "EQP,VDIG-64,VL000005",
        "heaters": "Q8iv-0141,Q8iv-0142,Q8iv-0143",
    }
