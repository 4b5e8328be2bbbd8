"""Other ways to relax the same networks, for `benchmarks/speed.py`."""
