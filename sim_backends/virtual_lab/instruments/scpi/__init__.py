"""IEEE 488.2 and SCPI, as far as several simulated instruments share them."""

from __future__ import annotations

from .engine import Call, Command, ScpiEngine
from .status import ScpiError, StatusModel

__all__ = ["Call", "Command", "ScpiEngine", "ScpiError", "StatusModel"]
