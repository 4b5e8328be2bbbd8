"""Pictures of runs and networks (matplotlib, an extra); every function returns a `Figure`."""
