"""A simulated bench: instruments that speak real bytes, all coupled to one plant.

It shares the description of the rig (`eqp_hw.rig`) with the drivers and nothing else: it never
imports `eqp_hw.drivers`, so that the two sides of a wire cannot share a misreading.
"""
