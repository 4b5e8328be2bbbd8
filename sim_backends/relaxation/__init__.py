"""Relaxation of XY networks to the equilibrium that the physical flow reaches."""
