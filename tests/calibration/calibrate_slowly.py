"""The program, with sample steps the second of which hardly ever ends; run as a script."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from calibration_samples import SAMPLE_STEPS, Detectors

from eqp_hw.calibration import procedure
from eqp_hw.cli.app import main

if __name__ == "__main__":
    Detectors.looks = 10**6
    procedure.STEPS = SAMPLE_STEPS
    main()
