"""The vendor's own client, unmodified, on a pseudo-terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_bench import ResistorPlant, make, wired

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is written for older Pythons
    qontrol = pytest.importorskip("qontrol")


@pytest.fixture
def plant() -> ResistorPlant:
    return ResistorPlant()


@pytest.fixture(params=[False, True], ids=["ascii", "binary"])
def client(request: pytest.FixtureRequest, plant: ResistorPlant, tmp_path: Path) -> Iterator[Any]:
    with wired(make("qontrol", plant, modules=2), tmp_path) as wire:
        port = wire.address.removeprefix("serial:")
        vendor = qontrol.QXOutput(serial_port_name=port, binary_mode=request.param)
        yield vendor
        vendor.close()


def test_it_finds_the_chain(client: Any) -> None:
    assert client.device_id == "Q8iv-0001"
    # The client keeps the NUL that can lead the first line.
    found = [module["device_id"].strip("\0") for module in client.chain]
    assert found == ["Q8iv-0001", "Q8iv-0002"]
    assert [module["index"] for module in client.chain] == [0, 1]
    assert client.n_chs == 16
    assert (client.v_full, client.i_full) == (12.0, 24.0)


def test_it_sets_and_reads_single_channels(client: Any, plant: ResistorPlant) -> None:
    client.v[11] = 4.5
    assert plant.voltage_V("x", 11) == pytest.approx(4.5, abs=12.0 / 0xFFFF)
    assert client.v[11] == pytest.approx(4.5, abs=2e-3)
    assert client.i[11] == pytest.approx(9.0, abs=0.02)
    client.vmax[11] = 6.0
    assert client.vmax[11] == pytest.approx(6.0, abs=1e-3)


def test_it_sets_and_reads_all_channels(client: Any, plant: ResistorPlant) -> None:
    wanted = [0.5 * k for k in range(16)]
    client.set_all_values("V", list(wanted))
    assert plant.outputs(16) == pytest.approx(wanted, abs=12.0 / 0xFFFF)
    assert client.get_all_values("V") == pytest.approx(wanted, abs=2e-3)


def test_it_logs_asynchronous_errors(client: Any, plant: ResistorPlant) -> None:
    client.imax[3] = 5.0
    client.v[3] = 4.0
    client.wait(0.02)
    errors = [(entry["id"], entry["ch"]) for entry in client.log if entry["type"] == "err"]
    assert errors == [(2, 3)]
    assert plant.voltage_V("x", 3) == 0.0


def test_it_sees_a_refused_command(client: Any) -> None:
    with pytest.raises(RuntimeError, match="code 10"):
        client.issue_command("bogus", operator="?", target_errors=[10])
