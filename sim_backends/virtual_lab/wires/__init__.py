"""Real pseudo-terminals and TCP ports in front of the simulated instruments."""
