"""The room of the instrument drivers, installed as `eqp_hw.drivers`.

Transports, instruments, actuators, read-outs and the rig substrate live here; they know the
core (`eqp_hw`) and nothing of the emulators and simulators.

A rig file (`eqp_hw.rig`) says what stands on the bench. `instruments.registry` makes the drivers
that it names, found through the entry-point group `eqp_hw.instruments`; `rig.substrate` joins them
to a `Substrate`, the kind ``rig`` of an experiment file. What has been verified, and what has not,
is said in docs/rigs.md: simulated instruments only.
"""
