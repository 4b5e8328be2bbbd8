"""pytest plug-in: ``--substrate FILE.toml`` names the substrate that the suite runs on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from eqp_hw.substrate import Substrate


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line option."""
    parser.addoption(
        "--substrate",
        metavar="FILE.toml",
        default=None,
        help="experiment file whose [network] and [substrate] the conformance suite runs on",
    )


@pytest.fixture
def substrate_from_file(request: pytest.FixtureRequest) -> Iterator[Substrate]:
    """Make the substrate that ``--substrate`` names; closed afterwards."""
    from eqp_hw.experiment.assemble import Experiment  # noqa: PLC0415 - only when it is used

    path = request.config.getoption("--substrate")
    if path is None:
        pytest.skip("no --substrate FILE.toml given")
    with Experiment.load(path).make_substrate() as substrate:
        yield substrate
