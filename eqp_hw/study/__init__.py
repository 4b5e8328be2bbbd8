"""Studies: what an estimator costs, and how far it is from the exact gradient."""
