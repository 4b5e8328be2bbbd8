"""What a substrate can do, as data; estimators declare what they need in the same terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from eqp_hw.errors import CapabilityError

__all__ = ["Capabilities", "Requirements"]

BiasControl = Literal["none", "amplitude", "complex"]


@final
@dataclass(frozen=True)
class Capabilities:
    """Abilities and figures of one substrate, as fixed at its construction.

    Attributes
    ----------
    batch_limit
        Samples that relax side by side; None for no limit. Hardware has 1.
    nudge_nodes
        Nodes at which a nudge field can be injected, in the order of its columns.
    signed_nudge
        Whether the nudge may push away from the target (−β).
    nudge_maximum
        Largest field amplitude |βf| at a node.
    nudge_levels
        The field amplitudes that exist, ascending; None for a continuum.
    oscillating_nudge, complex_nudge
        Slow real oscillation of the nudge; complex β (analytic continuation, emulators only).
    state_restore
        Whether `Substrate.restore_state` returns to a stored equilibrium.
    directed_couplings
        Whether J_ij and J_ji can be programmed apart.
    fast_reprogramming
        Couplings can be rewritten between the phases of one estimate.
    phase_clamp
        Output phases can be clamped (coupled learning).
    coupling_range
        Lowest and highest coupling that can be programmed.
    coupling_bits
        Resolution over that range; None for float.
    bias_control
        Which bias fields can be programmed.
    readout_quadratures
        Whether both cos φ and sin φ are measured.
    readout_bits
        Resolution of one phase read over 2π; None for float.
    readout_noise
        Standard deviation of one phase read, rad.
    settle_s
        Typical time to settle, s; None where it depends on the sample (emulators).
    """

    nudge_nodes: tuple[int, ...]
    batch_limit: int | None = None
    signed_nudge: bool = True
    nudge_maximum: float = math.inf
    nudge_levels: tuple[float, ...] | None = None
    oscillating_nudge: bool = False
    complex_nudge: bool = False
    state_restore: bool = True
    directed_couplings: bool = False
    fast_reprogramming: bool = False
    phase_clamp: bool = False
    coupling_range: tuple[float, float] = (-math.inf, math.inf)
    coupling_bits: int | None = None
    bias_control: BiasControl = "complex"
    readout_quadratures: bool = True
    readout_bits: int | None = None
    readout_noise: float = 0.0
    settle_s: float | None = None


@final
@dataclass(frozen=True)
class Requirements:
    """What an estimator needs of a substrate; field by field as in `Capabilities`.

    ``n_amplitudes`` is the number of different non-zero |β| it uses.
    """

    signed_nudge: bool = False
    state_restore: bool = False
    oscillating_nudge: bool = False
    complex_nudge: bool = False
    phase_clamp: bool = False
    fast_reprogramming: bool = False
    n_amplitudes: int = 1

    def missing(self, capabilities: Capabilities) -> list[str]:
        """Return in plain words what ``capabilities`` lacks; empty if all is there."""
        words = {
            "signed_nudge": "nudges of both signs",
            "state_restore": "return to a stored free equilibrium",
            "oscillating_nudge": "an oscillating nudge",
            "complex_nudge": "a complex nudge",
            "phase_clamp": "clamped output phases",
            "fast_reprogramming": "couplings reprogrammed within one estimate",
        }
        lacks = [
            text
            for name, text in words.items()
            if getattr(self, name) and not getattr(capabilities, name)
        ]
        levels = capabilities.nudge_levels
        if levels is not None and sum(level > 0 for level in levels) < self.n_amplitudes:
            lacks.append(f"{self.n_amplitudes} nudge amplitudes")
        return lacks

    def check(
        self, capabilities: Capabilities, estimator: str, alternatives: Sequence[str]
    ) -> None:
        """Refuse an estimator that the substrate cannot serve.

        Raises
        ------
        CapabilityError
            Naming what is missing and which estimators would do.
        """
        lacks = self.missing(capabilities)
        if lacks:
            raise CapabilityError(
                f"this substrate does not offer {' and '.join(lacks)}",
                field="estimator.kind",
                value=estimator,
                allowed=", ".join(alternatives) or "no estimator fits this substrate",
            )
