"""What all simulated instruments do alike that speak SCPI."""

from __future__ import annotations

from abc import abstractmethod

from typing_extensions import override

from eqp_hw.sim_backends.virtual_lab.interface import PlantFace, Reply, SimulatedInstrument

from .common import Desk
from .scpi import ScpiEngine

__all__ = ["ScpiSimulator"]


class ScpiSimulator(SimulatedInstrument):
    """Hands bytes to its engine; an instrument is its command tree and what it remembers.

    Parameters
    ----------
    plant
        The physical world.
    """

    _engine: ScpiEngine
    """Made by the instrument, from its command tree."""

    def __init__(self, plant: PlantFace) -> None:
        self._plant = plant
        self._desk = Desk(plant)

    @abstractmethod
    def _reset(self) -> None:
        """Go to the state of power-up; ``*RST`` too."""

    @override
    def feed(self, data: bytes) -> list[Reply]:
        return self._engine.feed(data)

    @override
    def new_session(self) -> None:
        self._engine.new_session()

    @override
    def power_cycle(self) -> list[Reply]:
        self._desk.restart()
        self._engine.power_on()
        self._reset()
        return []
