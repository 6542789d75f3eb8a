"""The command line: starting a program, reading its arguments, and telling the person what went wrong."""
