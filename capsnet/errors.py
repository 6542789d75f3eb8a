"""Errors meant for the person at the terminal: one line that says what was wrong, where, and what to do."""


class CapsNetError(Exception):
    """Base of every error that the command lines print as one line and answer with `exit_code`."""

    exit_code = 2


class ConfigError(CapsNetError):
    """A setting is unknown, of the wrong type, or out of range."""


class DataError(CapsNetError):
    """The images or labels are missing, damaged, or cannot be used as asked."""


class CheckpointError(CapsNetError):
    """A checkpoint or a run's folder cannot be read or does not fit."""


class DivergedError(CapsNetError):
    """The loss became NaN or infinite."""

    exit_code = 1


class StorageError(CapsNetError):
    """A file cannot be written: the disk is full, or so."""

    exit_code = 1


def on_one_line(error: Exception) -> str:
    """What another library's error says, without its line breaks."""
    return " ".join(str(error).split())


def printable(text: str) -> str:
    """A text that came from elsewhere, for the terminal: what would move the cursor or break the line is escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
