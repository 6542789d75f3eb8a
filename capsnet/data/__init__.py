"""Images and labels: a module per dataset, the splits, and the batches."""
