"""The speed of a serial line reaches every wire: the driver's, the guardian's, the blind one."""

import tomllib
from pathlib import Path

import pytest

from eqp_hw.drivers.errors import LostError
from eqp_hw.drivers.instruments.registry import list_drivers, make_instrument
from eqp_hw.drivers.rig.bench import Bench
from eqp_hw.drivers.safety import safe_off as making_safe
from eqp_hw.rig.load import make_rig
from eqp_hw.rig.schema import InstrumentSettings

RIG = Path(__file__).parents[3] / "examples" / "rigs" / "xor_array.toml"
KINDS = [listing.name for listing in list_drivers()]


def settings_of(kind, **more):
    return InstrumentSettings.model_validate({"kind": kind, "address": "serial:/dev/ttyX", **more})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_its_line_at_the_stated_speed(monkeypatch, kind):
    opened = []

    def refuse(address, *, baud, **_):
        opened.append(baud)
        raise LostError("no wire in this test", instrument=address)

    monkeypatch.setattr("eqp_hw.drivers.instruments.wire.make_transport", refuse)
    for more in ({"baud_rate": 9600}, {}):
        with pytest.raises(LostError):
            make_instrument("one", settings_of(kind, **more))
    assert opened == [9600, 115200]


@pytest.mark.parametrize(("more", "speed"), [({"baud_rate": 9600}, 9600), ({}, 115200)])
def test_blind_messages_go_out_at_the_stated_speed(monkeypatch, more, speed):
    sent = []

    def take(wards, give_up_s):
        assert give_up_s > 0
        sent.extend(wards)
        return {}

    monkeypatch.setattr(making_safe, "make_safe", take)
    (step,) = making_safe.safe_off({"source": settings_of("qontrol", modules=1, **more)})
    assert not step.passed  # nobody confirmed it
    assert "blindly" in step.detail
    assert [ward["baud"] for ward in sent] == [speed]
    assert sent[0]["messages"]


def test_the_guardian_is_told_the_stated_speed(monkeypatch):
    tables = tomllib.loads(RIG.read_text(encoding="utf-8"))
    tables["instruments"]["heaters"]["baud_rate"] = 57600
    given = []

    class Guard:
        pid = 1

        def __init__(self, wards):
            given.extend(wards)

    monkeypatch.setattr("eqp_hw.drivers.rig.bench.Guard", Guard)
    Bench(make_rig(tables)).start_guard()
    assert [ward.baud for ward in given] == [57600]
