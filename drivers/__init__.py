"""The room of the instrument drivers, installed as `eqp_hw.drivers`.

Transports, instruments, actuators, read-outs and the rig substrate live here; they know the
core (`eqp_hw`) and nothing of the emulators. This release ships the room without furniture:
a substrate from outside registers itself through the entry-point group `eqp_hw.substrates`.
"""
