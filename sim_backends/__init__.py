"""Emulators: substrates that live in this computer, installed as `eqp_hw.sim_backends`."""
