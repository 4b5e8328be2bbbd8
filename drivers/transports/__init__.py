"""Wires to instruments: VISA, serial and TCP behind one small interface."""
