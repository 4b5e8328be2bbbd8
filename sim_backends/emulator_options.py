"""How accurately, and with which engine, the emulator works."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from eqp_hw.validation import STRICT

from .engines import EngineName
from .relaxation.interface import RelaxationOptions
from .verbs import NudgeSites

__all__ = ["EmulatorOptions"]


class EmulatorOptions(BaseModel):
    """Options of the emulator, as in the ``[substrate]`` table of an experiment file.

    Attributes
    ----------
    engine
        Relaxation engine; "auto" chooses by availability and cost.
    method, tolerance, certificate, residual, t_max, max_steps, threads
        As in `RelaxationOptions`.
    hop_test
        As in `RelaxationOptions`.
    paranoid
        Relax at two tolerances and compare.
    eigenvalues
        Report the smallest Hessian eigenvalue of each settled sample (costs time).
    nudge_sites
        Where nudges can be injected: at all "free" nodes, or at the "outputs" alone.
    """

    model_config = STRICT

    engine: EngineName = "auto"
    method: Literal["rodas4", "rodas3"] = "rodas4"
    tolerance: float = Field(default=3e-3, ge=1e-12, le=0.1)
    certificate: bool = True
    residual: float = Field(default=1e-10, gt=0, le=1e-3)
    t_max: float = Field(default=1e6, gt=0)
    max_steps: int = Field(default=20_000, ge=1, le=10**9)
    threads: int = Field(default=0, ge=0, le=1024)
    hop_test: Literal["newton", "certified"] = "newton"
    paranoid: bool = False
    eigenvalues: bool = False
    nudge_sites: NudgeSites = "free"

    def relaxation(self, tolerance_factor: float = 1.0) -> RelaxationOptions:
        """Return the options of the engine, at a multiple of the tolerance."""
        return RelaxationOptions(
            method=self.method,
            tolerance=self.tolerance * tolerance_factor,
            certificate=self.certificate,
            residual=self.residual,
            t_max=self.t_max,
            max_steps=self.max_steps,
            hop_test=self.hop_test,
            threads=self.threads,
        )
