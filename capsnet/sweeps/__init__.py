"""Sweeps: many runs from one command. Their plan, jobs and summary, and how Hydra runs them."""
