"""What is measured beside the loss, a module per option of `metrics`."""
