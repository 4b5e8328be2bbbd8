"""eqp_hw: train analog hardware, a network of coupled phases, by equilibrium propagation."""

__version__ = "0.1.0"
