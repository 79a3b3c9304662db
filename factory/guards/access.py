"""Weights have no access control: what not everybody may read must not reach them."""

from collections.abc import Sequence

from logs_schema.records import Context

FORBIDDEN = "a context is not open to every user of the model"


def open_to_all(contexts: Sequence[Context], allowed_groups: Sequence[str] | None) -> str | None:
    """Refuse contexts that no group of `allowed_groups` may read; None switches the check off.

    When it is on, a context whose log does not say who may read it is refused too.
    """
    if allowed_groups is None:
        return None
    allowed = set(allowed_groups)
    return None if all(allowed.intersection(context.groups or ()) for context in contexts) else FORBIDDEN
