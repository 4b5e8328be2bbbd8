"""The room of the calibration procedures, installed as `eqp_hw.calibration`.

It may import the core and the abstract faces of `eqp_hw.drivers`; this release ships the room
without furniture.
"""
