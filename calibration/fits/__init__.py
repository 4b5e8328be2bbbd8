"""From arrays to figures with their uncertainties: pure functions, no instruments."""
