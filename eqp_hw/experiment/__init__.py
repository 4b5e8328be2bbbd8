"""Experiments: the file, the Python API, running, recording and resuming."""
