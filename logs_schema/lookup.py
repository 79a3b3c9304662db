"""Finding one of many by the beginning of its id, as every command that takes an id does."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from logs_schema.errors import InputError, NotReadyError

T = TypeVar("T")


def newest_or_named(
    known: Sequence[T], name: str | None, *, id_of: Callable[[T], str], what: str, make: str, listing: str
) -> T:
    """One of `known` (newest first) by its id or the beginning of it; None: the newest.

    Args:
        known: all there are.
        name: what the user gave.
        id_of: id of one of them.
        what: what they are, such as `dataset`.
        make: command that makes one.
        listing: command that lists them.

    Raises:
        NotReadyError: there is none yet.
        InputError: the name fits none, or several.
    """
    if not known:
        raise NotReadyError(f"There is no {what} yet: run `{make}` first.")
    if name is None:
        return known[0]
    found = [each for each in known if name and id_of(each).startswith(name)]
    if len(found) != 1:
        raise InputError(f"{name!r} names {f'several {what}s' if found else f'no {what}'}: `{listing}` shows the ids.")
    return found[0]
