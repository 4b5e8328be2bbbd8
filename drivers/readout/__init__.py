"""From detector voltages to phases: formulas, averaging, and the read-outs that use them."""
