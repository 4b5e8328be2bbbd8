"""How warm, how fast and how finely the Langevin substrate works."""

from __future__ import annotations

from pydantic import BaseModel, Field

from eqp_hw.errors import ConfigurationError
from eqp_hw.sim_backends.verbs import NudgeSites
from eqp_hw.validation import STRICT

__all__ = ["LangevinOptions"]


class LangevinOptions(BaseModel):
    """Options of the Langevin substrate, as in the ``[substrate]`` table.

    Times are in units of dφ/dt = −∂F/∂φ: a phase of stiffness λ relaxes in 1/λ.

    Attributes
    ----------
    temperature
        T in units of the couplings; a phase of stiffness λ fluctuates by √(T/λ) rad. At 0 the
        motion is deterministic.
    time_step
        Longest integration step. By default .3/ρ with ρ = max_i(2Σ_j|J_ij| + |field_i|), the
        bound of all rates; 2/ρ and above are refused as unstable.
    settle_time
        How long one settling lasts, whatever the phases do.
    read_interval
        Time from one raw read to the next within a sequence of reads.
    read_time
        Window over which one raw read averages phasors, from its beginning; 0 is instantaneous.
    residual
        Largest mean force over the last tenth of a settling with which a sample counts as
        settled. By default there is no such test: like a laboratory that waits and reads.
    nudge_sites
        Where nudges can be injected: at all "free" nodes, or at the "outputs" alone.
    """

    model_config = STRICT

    temperature: float = Field(default=0.01, ge=0)
    time_step: float | None = Field(default=None, gt=0)
    settle_time: float = Field(default=100.0, gt=0)
    read_interval: float = Field(default=5.0, gt=0)
    read_time: float = Field(default=0.0, ge=0)
    residual: float | None = Field(default=None, gt=0)
    nudge_sites: NudgeSites = "free"

    def checked(self) -> LangevinOptions:
        """Return these options.

        Raises
        ------
        ConfigurationError
            A read takes longer than the time between reads.
        """
        if self.read_time > self.read_interval:
            raise ConfigurationError(
                "a read takes longer than the time between reads",
                field="substrate.read_time",
                value=self.read_time,
                allowed=f"0 to substrate.read_interval = {self.read_interval:g}",
            )
        return self
