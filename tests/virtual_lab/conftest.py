from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eqp_hw.rig.load import Rig, make_rig

# Shared by the tests of this folder and its subfolders, which are no packages.
sys.path.insert(0, str(Path(__file__).parent))

TINY_RIG = Path(__file__).with_name("tiny_rig.toml")


@pytest.fixture(scope="session")
def tiny_rig_path() -> Path:
    return TINY_RIG


@pytest.fixture(scope="session")
def make_tiny_rig() -> Callable[..., Rig]:
    """Return a maker: keywords are tables whose keys replace those of tiny_rig.toml."""

    def make(**tables: dict[str, Any]) -> Rig:
        content = tomllib.loads(TINY_RIG.read_text())
        for name, table in tables.items():
            content[name] = content.get(name, {}) | table
        return make_rig(content)

    return make


@pytest.fixture(scope="session")
def line_simulators() -> dict[str, Any]:
    """Return simulators of a simple grammar for the kinds in tiny_rig.toml."""
    from dummy_simulators import LINE_SIMULATORS

    return dict(LINE_SIMULATORS)
