"""The words that curators type into the search box."""

import re
from typing import NamedTuple

_TOKEN = re.compile(r'(?P<or>\|)|(?P<minus>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s|"]+))')


class Term(NamedTuple):
    """A piece of text that must be found, or must not."""

    text: str
    negated: bool


def parse(query: str) -> list[list[Term]]:
    """Alternatives (`|`) of terms that must all hold; `"a phrase"` is one term, `-word` a negated one.

    A term is found anywhere in the text, so `pref*` is the same as `pref`; parentheses around words
    are dropped.
    """
    alternatives: list[list[Term]] = [[]]
    for token in _TOKEN.finditer(query):
        if token["or"]:
            alternatives.append([])
            continue
        text = token["phrase"] if token["phrase"] is not None else token["word"].strip("()+*")
        if text.strip() and text != "-":
            alternatives[-1].append(Term(text, negated=token["minus"] == "-"))
    return [terms for terms in alternatives if terms]
