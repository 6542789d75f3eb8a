"""Routing: how the capsules of one layer choose the capsules of the next. A module per routing."""
