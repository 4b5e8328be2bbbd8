"""Named steps that tell a healthy rig from one that is not."""

from __future__ import annotations

from eqp_hw.errors import EqpError
from eqp_hw.substrate import SelfTestStep

from .bench import Bench
from .optics import Optics

__all__ = ["substrate_self_test"]


def substrate_self_test(bench: Bench, optics: Optics) -> list[SelfTestStep]:
    """Return the steps of all instruments, and those of the read-out; moves no output."""
    steps = []
    for name, instrument in bench.instruments.items():
        steps += [
            SelfTestStep(f"{name}: {step.name}", step.passed, step.detail)
            for step in instrument.self_test()
        ]
    del optics
    try:
        bench.watch()
        steps.append(SelfTestStep("sources", True, "no error pending"))
    except EqpError as error:
        steps.append(SelfTestStep("sources", False, str(error)))
    return steps
