"""A lab's own calibration script: a sweep of one's own, then all steps, then what to make of them.

    python examples/calibrate_rig.py                                     # on a simulated bench
    python examples/calibrate_rig.py my_rig.toml --bench                 # on real instruments

The same with pictures: examples/calibration.ipynb.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from eqp_hw.calibration.procedure import calibrate
from eqp_hw.calibration.reader import read_calibration
from eqp_hw.calibration.rig_session import open_session
from eqp_hw.rig.calibrations import CalibrateOptions
from eqp_hw.rig.load import Rig, load_rig
from eqp_hw.rig.virtual_lab import make_virtual_lab

HERE = Path(__file__).parent


def sweep_one_heater(rig: Rig, levels: int = 9) -> None:
    """Heat the phase shifter of the first bias field alone and look at all detectors."""
    # Whatever a script writes is checked against the limits of the rig file before it is sent,
    # and leaving the block takes all outputs to zero, after an error as well.
    heater = rig.wiring.bias_phase[0]
    with open_session(rig) as session:
        session.all_zero()
        session.gain(on=True)
        period_W = 2 * rig.settings.calibration.half_wave_power_W
        for power_W in np.linspace(0.0, period_W, levels):
            session.write_powers({heater: power_W})
            seen = session.settle()
            first = np.round(seen.voltage_V[:4], 3)
            print(f"  {heater} at {1e3 * power_W:5.1f} mW: {first} V ...")


def calibrate_and_tell(rig: Rig, output: Path | None, only: tuple[str, ...]) -> Path:
    """Take the steps, print what they found, return the file."""
    outcome = calibrate(rig, CalibrateOptions(only=only, output=output))
    for fault in outcome.faults:
        print(f"  {fault.level}: {fault.subject}: {fault.text}")
    found = read_calibration(outcome.path)
    for name, figures in found.figures.items():
        # Crosstalk without its unit diagonal.
        values = figures[~np.eye(len(figures), dtype=bool)] if name == "crosstalk" else figures
        error = np.nanmedian(found.uncertainties.get(name, np.nan))
        print(f"  {name}: {np.nanmean(values):.4g}, spread {np.nanstd(values):.2g}, +- {error:.1g}")
    print(f"  {'complete' if outcome.complete else 'incomplete'}: {outcome.path}")
    return outcome.path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rig", type=Path, nargs="?", default=HERE / "rigs" / "heater_array.toml")
    parser.add_argument("--bench", action="store_true", help="real instruments, not their twin")
    parser.add_argument("--truth-seed", type=int, default=3, help="which unknown twin")
    parser.add_argument("--output", type=Path, help="calibration file")
    parser.add_argument("--only", default="", help="steps, by commas; all by default")
    given = parser.parse_args()
    rig = load_rig(given.rig)
    twin = nullcontext() if given.bench else make_virtual_lab(rig, truth_seed=given.truth_seed)
    with twin as lab:
        if lab is not None:
            rig = rig.with_addresses(lab.addresses)
        print("one heater by hand")
        sweep_one_heater(rig)
        print("all steps")
        calibrate_and_tell(rig, given.output, tuple(filter(None, given.only.split(","))))


if __name__ == "__main__":
    main()
