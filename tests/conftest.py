"""Shared by all tests: repeatable examples, and a check that the installed package is tested."""

from __future__ import annotations

import importlib.util
import logging

import pytest
from hypothesis import settings

# The same examples at every run: what passes here passes there.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    # `python -m pytest` puts the checkout first on the path, where the rooms that a wheel maps
    # into the package (sim_backends, drivers, calibration) are missing from it.
    if importlib.util.find_spec("eqp_hw.sim_backends") is None:
        raise pytest.UsageError(
            "eqp_hw is not installed, or the checkout shadows it: run `pip install -e '.[test]'` "
            "and then `pytest` (not `python -m pytest`)"
        )
    logging.getLogger("eqp_hw").setLevel(logging.INFO)
