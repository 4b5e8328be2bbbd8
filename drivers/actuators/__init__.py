"""From wanted physics (couplings, fields, phases) to drive voltages, and back to what is held."""
