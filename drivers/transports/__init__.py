"""Wires to instruments: VISA, serial and TCP behind one small interface.

`make_transport` makes a wire from an address, `Session` keeps requests and replies on it in
step, `RecordingTransport` and `ReplayTransport` turn a dialogue into a test.
"""
