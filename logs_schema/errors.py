"""The one exception root of the factory and the exit code of each kind.

A message says what was wrong, where, and what to do. The command line prints it without a
traceback; anything that is not a `FactoryError` is a bug and keeps its traceback.
"""


class FactoryError(Exception):
    """Root of every error that the user can mend. Exit code 1."""

    exit_code = 1


class ConfigurationError(FactoryError):
    """Wrong usage or configuration. Exit code 2."""

    exit_code = 2


class InputError(FactoryError):
    """The input (a log file, a dataset folder, a response) is not usable. Exit code 3."""

    exit_code = 3


class NotReadyError(FactoryError):
    """A step was run before the one it builds on; the message names that one. Exit code 4."""

    exit_code = 4


class GateRefusedError(FactoryError):
    """The challenger is not good enough to replace the champion. Exit code 5."""

    exit_code = 5
