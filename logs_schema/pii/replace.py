"""Replacing personal data in records, spans and feedback by placeholders that stay the same."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Engine

from logs_schema.keys import keyed, store_key
from logs_schema.pii.detect import Detector, versions
from logs_schema.records import Value
from logs_schema.settings import PiiSettings

V = TypeVar("V", bound=Value)
Rewrite = Callable[[str], str]

JOINED_BY = frozenset(
    [
        *("source", "source_id", "trace_id", "span_id", "parent_id", "doc_id", "version", "groups"),
        *("model", "prompt_version", "kind", "role", "passage", "text_hash"),
    ]
)
"""Fields that other data is joined by, or that are no free text: they are left as they are."""
IDENTIFIERS = frozenset(["user_id", "session_id", "by", "identifier"])
"""Fields that name one person or event: replaced as a whole, so that they still tell people apart."""
SHORT = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
}
MOST_SHARED = 200
"""Pieces found in one value that are looked for in its other texts as well."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Cleaner:
    """Replaces personal data; the same value gets the same placeholder wherever it stands.

    A placeholder is the kind and eight letters (26⁸, about 37 bits) of a keyed hash of the value, such as
    `<EMAIL_kqztbnrw>`. The key stays in the store, so that nobody without the store can test a guess.
    """

    def __init__(self, settings: PiiSettings, key: bytes) -> None:
        """Raises ConfigurationError: see `Detector`."""
        self._settings = settings
        self._detector = Detector(settings)
        self.identity = f"{settings.model_dump_json()} {versions(settings)}"
        """What decides, with the store's key, what is replaced by what."""
        self._key = key
        self.counts: Counter[str] = Counter()
        """Kind → placeholders that were put in so far."""

    def __reduce__(self) -> tuple[type["Cleaner"], tuple[PiiSettings, bytes]]:
        """For another process: it counts for itself."""
        return Cleaner, (self._settings, self._key)

    def __call__(self, values: Iterable[V]) -> list[V]:
        """The values without personal data."""
        return [self.value(value) for value in values]

    def value(self, value: V) -> V:
        """One value without personal data.

        What was found in one of its texts is replaced in the others too: a number may be told as a
        telephone's in the question only.
        """
        found: dict[str, str] = {}
        clean = self._walk(value, found)
        if not found:
            return value
        if len(found) > MOST_SHARED:
            return clean
        longest_first = "|".join(re.escape(written) for written in sorted(found, key=lambda each: (-len(each), each)))
        again = re.compile(rf"(?<![\w<])(?:{longest_first})(?!\w)")
        return _rewritten(clean, lambda text: again.sub(lambda match: found[match.group()], text))

    def text(self, text: str) -> str:
        """A text without personal data."""
        return self._text(text, {})

    def identifier(self, name: str) -> str:
        """An identifier as it is stored: itself, or one placeholder when it holds personal data."""
        found = self._detector.find(name)
        if not found:
            return name
        whole = len(found) == 1 and found[0].end - found[0].start == len(name)
        return self._placeholder(found[0].entity, found[0].value if whole else name)

    def _walk(self, value: V, found: dict[str, str]) -> V:
        return _rewritten(value, lambda text: self._text(text, found), self.identifier)

    def _text(self, text: str, found: dict[str, str]) -> str:
        parts, at = [], 0
        for each in self._detector.find(text):
            placeholder = self._placeholder(each.entity, each.value)
            found[text[each.start : each.end]] = placeholder
            parts += [text[at : each.start], placeholder]
            at = each.end
        return "".join([*parts, text[at:]]) if parts else text

    def _placeholder(self, entity: str, value: str) -> str:
        kind = SHORT.get(entity, entity)
        self.counts[kind] += 1
        number = int.from_bytes(keyed(self._key, "pii", entity, value))
        letters = "".join(LETTERS[number // len(LETTERS) ** place % len(LETTERS)] for place in range(8))
        return f"<{kind}_{letters}>"


def _rewritten(value: V, on_text: Rewrite, on_identifier: Rewrite | None = None) -> V:
    changes: dict[str, Any] = {}
    for name in _fields(type(value)):
        rewrite = on_identifier if name in IDENTIFIERS else on_text
        if rewrite:
            old = getattr(value, name)
            new = _part(old, rewrite, on_text, on_identifier)
            if new is not old:
                changes[name] = new
    return value.model_copy(update=changes) if changes else value


@cache
def _fields(kind: type[Value]) -> tuple[str, ...]:
    return tuple(name for name in kind.model_fields if name not in JOINED_BY)


def _part(old: Any, rewrite: Rewrite, on_text: Rewrite, on_identifier: Rewrite | None) -> Any:
    """The same object when nothing in it changes."""
    if isinstance(old, str):
        new = rewrite(old)
        return new if new != old else old
    if isinstance(old, Value):
        return _rewritten(old, on_text, on_identifier)
    if isinstance(old, tuple):
        parts = tuple(_part(each, rewrite, on_text, on_identifier) for each in old)
        return parts if any(new is not before for new, before in zip(parts, old, strict=True)) else old
    return old


def replaced_text(counts: Mapping[str, int]) -> list[str]:
    """A line that says how many placeholders (by kind) were put in; none when there were none."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
    return [f"Personal data replaced by placeholders: {kinds}."] if kinds else []


def cleaner(engine: Engine, settings: PiiSettings) -> Cleaner | None:
    """What takes personal data out before this store sees it; None when `[pii] enabled` is false.

    Raises:
        ConfigurationError: an entity, a language or a model is not to be had here.
    """
    return Cleaner(settings, store_key(engine)) if settings.enabled else None
