"""A run's folder: its record, metrics and checkpoints, and how to continue or repeat a run from them."""
