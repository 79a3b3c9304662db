"""Texts by their hashes, of which those that were asked for lately stay in memory."""

import sys
from collections.abc import Callable, Iterable


class Texts:
    """The same passages are retrieved again and again: each is read once, as long as there is room for it.

    A hash stands for one text in every store, so nothing here is ever out of date. Two generations: when the younger
    one is full, it becomes the older one, whose texts go unless they are asked for again.
    """

    def __init__(self, size: int) -> None:
        """Make room for so many bytes."""
        self._limit = size // 2
        self._young: dict[str, str] = {}
        self._old: dict[str, str] = {}
        self._held = 0

    def of(self, hashes: Iterable[str], read: Callable[[list[str]], Iterable[tuple[str, str]]]) -> dict[str, str]:
        """Hash → text; `read` gives those that are not in memory."""
        found: dict[str, str] = {}
        missing: list[str] = []
        for name in hashes:
            text = self._young.get(name)
            if text is None and (text := self._old.get(name)) is not None:
                self._keep(name, text)
            if text is None:
                missing.append(name)
            else:
                found[name] = text
        for name, text in read(sorted(missing)) if missing else ():
            self._keep(name, text)
            found[name] = text
        return found

    def _keep(self, name: str, text: str) -> None:
        self._young[name] = text
        self._held += sys.getsizeof(text) + sys.getsizeof(name)
        if self._held > self._limit:
            self._old, self._young, self._held = self._young, {}, 0
