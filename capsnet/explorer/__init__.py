"""The explorer: a page in the browser that shows what the capsules of a trained network know."""
