"""The rig substrate's own self-test; moves no output."""

from __future__ import annotations

from eqp_hw.errors import EqpError
from eqp_hw.substrate import SelfTestStep

from .bench import Bench

__all__ = ["rig_self_test"]


def rig_self_test(bench: Bench) -> list[SelfTestStep]:
    """Return the steps of all instruments, and whether the sources hold what was written."""
    steps = [
        SelfTestStep(f"{name}: {step.name}", step.passed, step.detail)
        for name, instrument in bench.instruments.items()
        for step in instrument.self_test()
    ]
    try:
        bench.watch()
        steps.append(SelfTestStep("sources", True, "no error pending"))
    except EqpError as error:
        steps.append(SelfTestStep("sources", False, str(error)))
    return steps
