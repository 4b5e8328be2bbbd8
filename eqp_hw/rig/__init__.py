"""The rig file: what a bench consists of, as data that knows no driver and no simulator.

Drivers build instruments from it, the virtual lab builds their simulated twins from it; the two
share this description and nothing else.
"""
