"""Collected by ``pytest --substrate FILE.toml --pyargs eqp_hw.conformance``."""

from __future__ import annotations

import pytest

from eqp_hw.substrate import Substrate

from .suite import SubstrateConformance


class TestSubstrateFromFile(SubstrateConformance):
    """The suite on the substrate of an experiment file."""

    @pytest.fixture
    def substrate(self, substrate_from_file: Substrate) -> Substrate:
        """Return the substrate named on the command line."""
        return substrate_from_file
