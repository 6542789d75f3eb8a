"""Training with Lightning: `run.train` trains, tests and reports one run."""
