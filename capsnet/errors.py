"""Errors meant for the person at the terminal: one line that says what was wrong, where, and what to do."""


class CapsNetError(Exception):
    """Base of every error that the programs print as one line; they exit with `exit_code`."""

    exit_code = 2


class ConfigError(CapsNetError):
    """A setting is unknown, of the wrong type, or out of range."""


class PluginError(ConfigError):
    """A plugin is missing, cannot be read, or does not have the form of a plugin."""


class DataError(CapsNetError):
    """The images or labels are missing, damaged, or cannot be used as asked."""


class CheckpointError(CapsNetError):
    """A checkpoint or a run's folder cannot be read, or does not fit the config."""


class ExportError(CapsNetError):
    """A network cannot be exported, or computes something else when it is."""

    exit_code = 1


class FolderInUseError(ConfigError):
    """Another process is working in the folder."""


class DivergedError(CapsNetError):
    """The loss became NaN or infinite."""

    exit_code = 1


class TooLittleMemoryError(CapsNetError):
    """A training needs more memory than there is."""

    exit_code = 1


class ProcessError(CapsNetError):
    """Another process of a training has failed."""

    exit_code = 1


class StorageError(CapsNetError):
    """A file cannot be written, for example because the disk is full."""

    exit_code = 1
