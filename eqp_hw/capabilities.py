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
        The field amplitudes |βf| that exist at a node beside 0 (no nudge, which always
        exists), ascending, the same at all nodes; each at any phase, up to rounding. None for a
        continuum. A field of another amplitude is refused or made wrongly, so the controller
        asks for none (`eqp_hw.learning.nudge_strength`).
    hidden_nudge
        Whether every free node is among ``nudge_nodes``.
    oscillating_nudge, complex_nudge
        Slow real oscillation of the nudge (`Substrate.measure_oscillating`); complex β (analytic
        continuation, emulators only).
    state_restore
        Whether `Substrate.restore_state` returns to a stored equilibrium.
    directed_couplings
        Whether J_ij and J_ji can be programmed apart.
    fast_reprogramming
        Couplings can be rewritten between the phases of one estimate.
    phase_clamp
        Output phases can be clamped (`Substrate.clamp_outputs`, coupled learning).
    coupling_lag
        Whether a phase lag of the couplings can be set (`Substrate.set_coupling_lag`).
    replicas
        Copies of the network that can be nudged apart at the same time
        (`Substrate.measure_together`).
    coupling_range
        Lowest and highest coupling that can be programmed.
    coupling_bits
        Resolution over that range; None for float.
    bias_control
        Which bias fields can be programmed.
    bias_maximum
        Largest amplitude |b| of a bias field that can be programmed at every free node.
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
    hidden_nudge: bool = False
    oscillating_nudge: bool = False
    complex_nudge: bool = False
    state_restore: bool = True
    directed_couplings: bool = False
    fast_reprogramming: bool = False
    phase_clamp: bool = False
    coupling_lag: bool = False
    replicas: int = 1
    coupling_range: tuple[float, float] = (-math.inf, math.inf)
    coupling_bits: int | None = None
    bias_control: BiasControl = "complex"
    bias_maximum: float = math.inf
    readout_quadratures: bool = True
    readout_bits: int | None = None
    readout_noise: float = 0.0
    settle_s: float | None = None

    def base_levels(self, amplitudes: Sequence[float] = (1.0,)) -> tuple[float, ...] | None:
        """Return the levels b for which every a·b of ``amplitudes`` can be made.

        Parameters
        ----------
        amplitudes
            Multiples a > 0.

        Returns
        -------
        Amplitudes within the maximum, ascending; None where there is a continuum.
        """
        if self.nudge_levels is None:
            return None
        levels = [level for level in self.nudge_levels if 0 < level <= self.nudge_maximum]

        def exists(amplitude: float) -> bool:
            return any(math.isclose(amplitude, level, rel_tol=1e-6) for level in levels)

        bases = sorted({level / max(amplitudes) for level in levels})
        return tuple(base for base in bases if all(exists(a * base) for a in amplitudes))


@final
@dataclass(frozen=True)
class Requirements:
    """What an estimator needs of a substrate; field by field as in `Capabilities`.

    ``amplitudes`` are the different non-zero multiples of |β| it uses; ``analogue_nudge`` asks
    for a continuum of them, `Capabilities.nudge_levels` being None.
    """

    signed_nudge: bool = False
    state_restore: bool = False
    hidden_nudge: bool = False
    oscillating_nudge: bool = False
    complex_nudge: bool = False
    phase_clamp: bool = False
    directed_couplings: bool = False
    fast_reprogramming: bool = False
    replicas: int = 1
    analogue_nudge: bool = False
    amplitudes: tuple[float, ...] = (1.0,)

    def missing(self, capabilities: Capabilities) -> list[str]:
        """Return in plain words what ``capabilities`` lacks; empty if all is there."""
        words = {
            "signed_nudge": "nudges of both signs",
            "state_restore": "return to a stored free equilibrium",
            "hidden_nudge": "nudges at hidden nodes",
            "oscillating_nudge": "an oscillating nudge",
            "complex_nudge": "a complex nudge",
            "phase_clamp": "clamped output phases",
            "directed_couplings": "couplings J_ij and J_ji programmed apart",
            "fast_reprogramming": "couplings reprogrammed within one estimate",
        }
        lacks = [
            text
            for name, text in words.items()
            if getattr(self, name) and not getattr(capabilities, name)
        ]
        if self.analogue_nudge and capabilities.nudge_levels is not None:
            lacks.append("a continuum of nudge amplitudes")
        if self.replicas > capabilities.replicas:
            lacks.append(f"{self.replicas} replicas of the network side by side")
        if capabilities.base_levels(self.amplitudes) == ():
            count, ratio = len(self.amplitudes), " : ".join(f"{a:g}" for a in self.amplitudes)
            lacks.append(
                "a nudge amplitude above 0"
                if count == 1
                else f"{count} nudge amplitudes in the ratio {ratio}"
            )
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
