"""Reading production's prompt template off the messages that it logged.

A template counts only when rendering it gives the logged messages again, character by character.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from logs_schema.records import Context, Message, PromptTemplate, RagRecord

ANCHORS = (80, 24)
"""Characters from the beginning of a passage by which a cut one is found."""
ELLIPSES = (" [...]", "[...]", " ...", "...", " …", "…")
"""Marks that a cut passage ends with; they count as what was shown of it."""
SAFE_QUERY = 8
"""A shorter query may stand in the template's own words: only its last occurrence is taken for it."""


class Inferred(NamedTuple):
    """What the logged messages tell."""

    template: PromptTemplate
    history: tuple[Message, ...]
    truncated: bool
    """True when the messages hold less of the contexts than was retrieved."""


class _Shown(NamedTuple):
    """A passage in the user message: where it begins, and how much of it is there."""

    start: int
    end: int


def infer(messages: Sequence[Message], query: str, contexts: Sequence[Context]) -> Inferred | None:
    """The template behind logged messages; None when no template renders them exactly.

    The passages must stand in the last message, a user's, in the order of `contexts`; whole, or
    (`truncated`) cut at their ends or with the last ones left out.
    """
    if not messages or messages[-1].role != "user" or not contexts or not query:
        return None
    system = messages[0].content if messages[0].role == "system" else None
    history = tuple(messages[1 if system is not None else 0 : -1])
    user = messages[-1].content
    for shown in _located(user, contexts):
        seen = tuple(
            context.model_copy(update={"text": user[span.start : span.end]})
            for context, span in zip(contexts, shown, strict=False)
        )
        truncated = [context.text for context in seen] != [context.text for context in contexts]
        for passage, joiner, before, after in _layouts(user, shown, seen):
            outer = _with_query(before, after, query)
            if passage[0] in ")]}":
                continue  # the numbers are others than the passages', and would become the template's own words
            if truncated and any(context.text[: ANCHORS[-1]] in outer for context in contexts):
                continue  # a passage would become the template's own words
            template = PromptTemplate(system=system or None, passage=passage, joiner=joiner, user=outer)
            if template.render(query, seen, history) == tuple(messages):
                return Inferred(template, history, truncated)
    return None


def with_prompt(record: RagRecord, messages: Sequence[Message]) -> RagRecord:
    """The record with what its logged messages tell: template, truncation, history."""
    inferred = infer(messages, record.query, record.contexts)
    if inferred is None:
        return record
    history = inferred.history or record.history
    return record.model_copy(update={"prompt": inferred.template, "truncated": inferred.truncated, "history": history})


def _located(user: str, contexts: Sequence[Context]) -> list[tuple[_Shown, ...]]:
    """Where the passages stand: all of them whole, else as far as their beginnings are found."""
    whole = _find(user, contexts, None)
    if len(whole) == len(contexts):
        return [whole]
    found = sorted((_find(user, contexts, anchor) for anchor in ANCHORS), key=len, reverse=True)
    return [shown for shown in dict.fromkeys(found) if shown]


def _find(user: str, contexts: Sequence[Context], anchor: int | None) -> tuple[_Shown, ...]:
    shown: list[_Shown] = []
    at = 0
    for context in contexts:
        start = user.find(context.text[:anchor], at) if context.text else -1
        if start < 0:
            break
        at = start + (len(context.text) if user.startswith(context.text, start) else 1)
        shown.append(_Shown(start, at))
    ends = [span.start for span in shown[1:]] + [len(user)]
    return tuple(
        _Shown(span.start, _end(user, context.text, span.start, end))
        for context, span, end in zip(contexts, shown, ends, strict=False)
    )


def _end(user: str, passage: str, start: int, limit: int) -> int:
    end = start + _common_prefix(passage, user[start:limit])
    if end - start == len(passage):
        return end
    return end + next((len(mark) for mark in ELLIPSES if user.startswith(mark, end)), 0)


def _layouts(user: str, shown: Sequence[_Shown], seen: Sequence[Context]) -> list[tuple[str, str, str, str]]:
    """(passage, joiner, before, after) candidates, from what stands between the passages."""
    head, tail = user[: shown[0].start], user[shown[-1].end :]
    last = len(seen) - 1
    opening = _generic(head, following=(1, seen[0]))
    closing = _generic(tail, preceding=(last + 1, seen[last]))
    if len(shown) == 1:
        line = opening.rpartition("\n")[2]
        prefix = line if "{n}" in line or "{title}" in line or not re.search(r"\w", line) else ""
        options = [(prefix, "\n\n", "")]
    else:
        between = [
            _generic(user[left.end : right.start], following=(n + 2, seen[n + 1]), preceding=(n + 1, seen[n]))
            for n, (left, right) in enumerate(pairwise(shown))
        ]
        options = [_split(gap, opening, closing) for gap in sorted(set(between), key=lambda g: ("{title}" not in g, g))]
    layouts = []
    for prefix, joiner, suffix in options:
        passage = prefix + "{text}" + suffix.replace("{p}", "{n}").replace("{ptitle}", "{title}")
        first = _literal(prefix, 1, seen[0])
        last_suffix = _literal(suffix, last + 1, seen[last])
        if head.endswith(first) and tail.startswith(last_suffix):
            layouts.append((passage, joiner, head[: len(head) - len(first)], tail[len(last_suffix) :]))
    return layouts


def _split(gap: str, opening: str, closing: str) -> tuple[str, str, str]:
    """(prefix, joiner, suffix) of a gap between passages; blanks at the seams belong to the joiner."""
    common = _common_prefix(gap[::-1], opening[::-1])
    prefix = gap[len(gap) - common :].lstrip() if common else ""
    rest = gap[: len(gap) - len(prefix)]
    suffix = rest[: _common_prefix(rest, closing)].rstrip()
    return prefix, rest[len(suffix) :], suffix


def _generic(
    text: str, *, following: tuple[int, Context] | None = None, preceding: tuple[int, Context] | None = None
) -> str:
    """The text with number and title of the passage after it, and of the one before, as placeholders."""
    for names, side in ((("{n}", "{title}"), following), (("{p}", "{ptitle}"), preceding)):
        if side:
            number, context = side
            if context.title:
                text = text.replace(context.title, names[1])
            text = re.sub(rf"(?<!\w){number}(?!\w)", names[0], text)
    return text


def _literal(pattern: str, number: int, context: Context) -> str:
    title = context.title or ""
    for name, value in (("{n}", str(number)), ("{p}", str(number)), ("{title}", title), ("{ptitle}", title)):
        pattern = pattern.replace(name, value)
    return pattern


def _with_query(before: str, after: str, query: str) -> str:
    if len(query) >= SAFE_QUERY:
        return before.replace(query, "{query}") + "{contexts}" + after.replace(query, "{query}")
    if query in after:
        return before + "{contexts}" + "{query}".join(after.rsplit(query, 1))
    return "{query}".join(before.rsplit(query, 1)) + "{contexts}" + after


def _common_prefix(one: str, other: str) -> int:
    """Length of the common beginning, by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
