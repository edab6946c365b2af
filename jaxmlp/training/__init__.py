"""Training: optimisers, metrics, one step, one epoch, and the fit that repeats it."""
