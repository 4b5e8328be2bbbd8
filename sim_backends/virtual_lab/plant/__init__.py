"""The physical world behind the simulated instruments: heaters, oscillators, detectors."""
