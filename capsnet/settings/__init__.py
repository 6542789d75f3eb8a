"""What may be set: every option with its settings, their defaults, ranges and meanings. Imports no torch."""
