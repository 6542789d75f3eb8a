"""What a person gets to see of a run: scores, figures, and text in the terminal."""
