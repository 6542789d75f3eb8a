"""The networks, a module per option of `model`, and the layers that several of them share."""
