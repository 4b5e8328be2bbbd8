"""From couplings and fields to powers of heaters, and back: formulas on a rig's calibration.

Pure; shared by the drivers, which act on them, and by the twin, which rehearses them.
"""
