"""The files of trained models that come with the project; see `capsnet.runs.shipped`."""
