"""The twin of a calibrated rig: the exact emulator behind what is known of its imperfections."""
