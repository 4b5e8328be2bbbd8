"""Hidden truths: nominal without spreads, spread as asked, one stream a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from eqp_hw.errors import ConfigurationError
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

SPREADS = {
    "half_wave_power_spread": ("half_wave_power_W", True),
    "resistance_spread": ("resistance_ohm", True),
    "phase_offset_spread": ("phase_offset", False),
    "crosstalk_spread": ("crosstalk", True),
    "coupling_spread": ("coupling_maximum", True),
    "splitting_imbalance": ("readout_amplitude_V", True),
    "detector_offset_V": ("readout_offset_V", False),
    "quadrature_error": ("quadrature_error", False),
}


def arrays(figures: RigCalibration) -> dict[str, np.ndarray]:
    named = {item.name: getattr(figures, item.name) for item in fields(figures)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def test_without_spreads_the_truth_is_nominal(make_tiny_rig: Callable[..., Rig]) -> None:
    rig = make_tiny_rig()
    truths = draw_truths(rig, 5)
    nominal = arrays(nominal_calibration(rig))
    for name, value in arrays(truths.figures).items():
        np.testing.assert_array_equal(value, nominal[name], err_msg=name)
    assert not truths.reciprocity.any()
    assert not truths.dead


@pytest.mark.parametrize("option", SPREADS)
def test_each_spread_moves_its_own_figure_by_its_size(
    make_tiny_rig: Callable[..., Rig], option: str
) -> None:
    name, relative = SPREADS[option]
    rig = make_tiny_rig(virtual_lab={option: 0.05})
    nominal = arrays(nominal_calibration(rig))
    drawn = [arrays(draw_truths(rig, seed).figures) for seed in range(1, 61)]
    for other in nominal:
        moved = any((one[other] != nominal[other]).any() for one in drawn)
        together = {"coupling_maximum", "bias_maximum", "nudge_maximum"}
        assert moved == (other == name or {other, name} <= together), other
    known = nominal[name]
    # The diagonal of the crosstalk is 1 by definition, zeros stay zero.
    free = np.ones(known.shape, dtype=bool)
    if name == "crosstalk":
        free = (known != 0) & ~np.eye(len(known), dtype=bool)
    values = np.stack([one[name][free] for one in drawn])
    deviation = np.log(values / known[free]) if relative else values - known[free]
    assert abs(deviation.std() - 0.05) < 0.005
    assert abs(deviation.mean()) < 0.01


def test_one_spread_does_not_shift_the_draws_of_another(make_tiny_rig: Callable[..., Rig]) -> None:
    alone = draw_truths(make_tiny_rig(virtual_lab={"resistance_spread": 0.1}), 3)
    both = draw_truths(
        make_tiny_rig(virtual_lab={"resistance_spread": 0.1, "phase_offset_spread": 0.2}), 3
    )
    np.testing.assert_array_equal(alone.figures.resistance_ohm, both.figures.resistance_ohm)


def test_reciprocity_error_has_its_size(make_tiny_rig: Callable[..., Rig]) -> None:
    rig = make_tiny_rig(virtual_lab={"reciprocity_error": 0.1})
    ratio = np.concatenate([np.expm1(draw_truths(rig, seed).reciprocity) for seed in range(1, 61)])
    assert abs(ratio.std() - 0.1) < 0.01


def test_a_dead_channel_must_be_wired(make_tiny_rig: Callable[..., Rig]) -> None:
    rig = make_tiny_rig(virtual_lab={"dead_channels": ["heaters:99"]})
    with pytest.raises(ConfigurationError, match=r"virtual_lab\.dead_channels = 'heaters:99'"):
        draw_truths(rig, 0)


def test_seed_0_is_the_rig_of_the_data_sheets(make_tiny_rig: Callable[..., Rig]) -> None:
    rig = make_tiny_rig(
        virtual_lab={"phase_offset_spread": 0.5, "coupling_spread": 0.1, "reciprocity_error": 0.1}
    )
    truths, nominal = draw_truths(rig, 0), nominal_calibration(rig)
    np.testing.assert_array_equal(truths.figures.phase_offset, nominal.phase_offset)
    np.testing.assert_array_equal(truths.figures.coupling_maximum, nominal.coupling_maximum)
    assert not truths.reciprocity.any()
    assert np.abs(draw_truths(rig, 1).figures.phase_offset).max() > 0.1
