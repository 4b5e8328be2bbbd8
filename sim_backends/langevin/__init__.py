"""XY networks at a temperature: overdamped Langevin dynamics (docs/langevin.md)."""
