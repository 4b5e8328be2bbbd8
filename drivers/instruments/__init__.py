"""Instruments: one module a family, each over a `Transport`."""
