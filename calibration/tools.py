"""What this room offers to the others, as the entry point ``tools`` of `eqp_hw.calibrations`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

from typing_extensions import override

from eqp_hw.rig.calibrations import (
    CalibrateOptions,
    CalibrationOutcome,
    CalibrationStatus,
    CalibrationTools,
    MeasuredCalibration,
    Watcher,
)
from eqp_hw.rig.load import Rig

__all__ = ["Tools"]


@final
class Tools(CalibrationTools):
    """Measures, stores, reads and reports."""

    @override
    def load(self, rig: Rig, identities: Mapping[str, str] | None) -> MeasuredCalibration:
        from .latest import load_measured  # noqa: PLC0415 - h5py is slow to load

        return load_measured(rig, identities)

    @override
    def identities(self, rig: Rig) -> dict[str, str]:
        from eqp_hw.drivers.rig.bench import Bench  # noqa: PLC0415

        with Bench(rig) as bench:
            bench.connect()
            return bench.lasting_identities

    @override
    def calibrate(
        self, rig: Rig, options: CalibrateOptions, watcher: Watcher | None = None
    ) -> CalibrationOutcome:
        from .procedure import calibrate  # noqa: PLC0415

        return calibrate(rig, options, watcher)

    @override
    def status(self, rig: Rig, identities: Mapping[str, str] | None) -> CalibrationStatus:
        from .status import status_of  # noqa: PLC0415

        return status_of(rig, identities)

    @override
    def write_report(self, calibration: Path, target: Path) -> Path:
        from .report import write_report  # noqa: PLC0415

        return write_report(calibration, target)
