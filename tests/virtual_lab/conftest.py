from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eqp_hw.rig.load import Rig, make_rig

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
