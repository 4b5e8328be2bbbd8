"""Run records: the run file, checkpoints, provenance."""
