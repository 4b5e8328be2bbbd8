"""Automatic choice of estimator, nudge strength and number of reads from what is measured.

`probe` measures, `decide` chooses (a pure function of the figures), `AutoPlanner` does both
when it is time. docs/tuning.md explains the choice.
"""
