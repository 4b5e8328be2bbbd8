"""The gain switch's drive against the limits of its source, before any output moves."""

from __future__ import annotations

from collections.abc import Mapping

from eqp_hw.drivers.errors import LimitError
from eqp_hw.drivers.instruments.interface import MultichannelSource
from eqp_hw.rig.load import Rig

__all__ = ["refuse_gain_drive"]


def refuse_gain_drive(
    rig: Rig, sources: Mapping[str, MultichannelSource], heaters_W: Mapping[str, float]
) -> None:
    """See that ``wiring.gain_off_V`` can be driven; nothing to see where none is wired.

    Parameters
    ----------
    heaters_W
        Power of the heaters of each source, with all couplings and fields at zero.

    Raises
    ------
    LimitError
        It is above a limit of the source; names ``wiring.gain_off_V``.
    """
    switch = rig.wiring.gain_switch
    if switch is None:
        return
    name, voltage = switch.instrument, rig.settings.wiring.gain_off_V
    table = rig.settings.instruments[name]
    limits, most = table.limits, {"its full scale": sources[name].full_scale_V}
    if limits.voltage_V is not None:
        most[f"instruments.{name}.limits.voltage_V"] = limits.voltage_V
    load = table.options.get("resistance_ohm")
    if load:  # the source judges power and current of every channel with it
        if limits.current_A is not None:
            most[f"instruments.{name}.limits.current_A"] = limits.current_A * load
        if limits.power_W is not None:
            most[f"instruments.{name}.limits.power_W"] = (limits.power_W * load) ** 0.5
        if limits.total_power_W is not None:
            left_W = max(limits.total_power_W - heaters_W.get(name, 0.0), 0.0)
            most[f"instruments.{name}.limits.total_power_W"] = (left_W * load) ** 0.5
    for what, highest in most.items():
        if voltage > highest:
            raise LimitError(
                f"{switch} switches the gain, and its drive is above what {what} leaves",
                field="wiring.gain_off_V",
                value=voltage,
                allowed=f"at most {highest:.4g} V",
            )
