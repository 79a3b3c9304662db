"""The one exception root of the factory and the exit code of each kind.

A message says what was wrong, where, and what to do. The command line prints it without a
traceback; anything that is not a `FactoryError` is a bug and keeps its traceback.
"""

import errno
from pathlib import Path

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
UNUSABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}


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


def no_room(place: Path | str, reason: object) -> FactoryError:
    """What to say when a disk is full or fails, a quota is used up or a file may not grow."""
    return FactoryError(f"Writing to {place} failed ({reason}): free some disk space and run this again.")


def disk_error(error: OSError, place: Path | str | None = None) -> FactoryError | None:
    """What to say of an error of the file system that its owner can mend; None for any other.

    Args:
        error: as it was raised.
        place: what could not be written [default: the file that the error names].
    """
    use = "written" if place else "used"
    place = place or error.filename or "the disk"
    if error.errno in NO_ROOM:
        return no_room(place, error.strerror)
    if error.errno in UNUSABLE:
        return ConfigurationError(f"{place} cannot be {use} ({error.strerror}): mend that, or choose another place.")
    return None


def not_written(error: OSError, place: Path | str) -> FactoryError:
    """What to say when a file that the user named could not be written, for whatever reason."""
    return disk_error(error, place) or ConfigurationError(f"{place} cannot be written: {error.strerror or error}.")
