"""What is learned, a module per option of `task`."""
