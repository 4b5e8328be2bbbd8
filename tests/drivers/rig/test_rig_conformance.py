"""The core's conformance suite on rigs over the virtual lab: ideal, noisy, stepped."""

import pytest

from eqp_hw.conformance.suite import SubstrateConformance


class TestIdealRig(SubstrateConformance):
    @pytest.fixture
    def substrate(self, open_rig):
        return open_rig()[0]


class TestNoisyRig(SubstrateConformance):
    @pytest.fixture
    def substrate(self, open_rig):
        return open_rig(
            virtual_lab={"detector_noise_V": 0.002, "detector_bits": 16},
            calibration={"readout_noise": 0.002},
            settle={"tolerance": 0.004},
        )[0]


class TestSteppedRigWithoutBias(SubstrateConformance):
    """N-step read-out; no bias fields, so no way back after a hop."""

    @pytest.fixture
    def substrate(self, open_rig):
        return open_rig(
            wiring={"bias_amplitude": None, "bias_phase": None},
            readout={
                "kind": "n-step",
                "in_phase": None,
                "quadrature": None,
                "intensity": ["detectors:0-3"],
                "step_shifter": "heaters:23",
                "steps": 4,
                "bits": 12,
            },
        )[0]


class TestKickedRig(SubstrateConformance):
    """Without a gain switch bias fields turn the phases for a fresh start."""

    @pytest.fixture
    def substrate(self, open_rig):
        return open_rig(wiring={"gain_switch": None})[0]


class TestTwoKindsOfSources(SubstrateConformance):
    """Couplings on a heater chain, all else on a precision source: written side by side."""

    @pytest.fixture
    def substrate(self, open_rig):
        source = {"kind": "scpi-source", "dialect": "qdac2", "address": "tcp:127.0.0.1:5026"}
        return open_rig(
            instruments={"source": source},
            wiring={
                "inputs": ["source:0-1"],
                "bias_amplitude": ["source:2-5"],
                "bias_phase": ["source:6-9"],
                "nudge_amplitude": ["source:10"],
                "nudge_phase": ["source:11"],
                "gain_switch": "source:12",
            },
        )[0]
