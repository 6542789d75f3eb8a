"""What you see of a run: scores, figures, and text in the terminal."""
