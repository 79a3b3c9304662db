"""What a response in JSON says: its values, without the keys around them and what they name as their sources."""

import json
import re

_FENCED = re.compile(r"\s*(?:```(?:json)?\s*)?(?P<body>[\[{].*[\]}])\s*(?:```\s*)?", re.DOTALL)
_PART = re.compile(r'"(?:[^"\\]|\\.)*"(?P<key>\s*:)?|-?\d[\d.eE+-]*|```\w*')
_SOURCES = re.compile(
    r"(?:sources?|citations?|references?|pages?|passages?|documents?|confidence|score|id|ids)(?:_?ids?)?"
)


def values_only(response: str) -> str:
    """A response in JSON with all else but what it states blanked out; every offset stays what it was.

    Any other response comes back as it is.
    """
    found = _FENCED.fullmatch(response)
    if found is None:
        return response
    try:
        json.loads(found["body"])
    except (ValueError, RecursionError):
        return response
    key = ""

    def stated(part: re.Match[str]) -> str:
        nonlocal key
        text = part.group()
        if part["key"] is not None:
            key = text.partition('"')[2].rpartition('"')[0].casefold()
        elif not text.startswith("```") and not _SOURCES.fullmatch(key):
            return text
        return " " * len(text)

    return _PART.sub(stated, response)
