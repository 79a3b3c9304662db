"""Sentences that only frame an answer ("The answer is:", "Passage 1:", "Great question!"): nothing to check."""

import re
from collections.abc import Sequence

from factory.mining.citations import without_citations
from factory.mining.claims import Claim

_FRAME = re.compile(
    r"(?:here is |the |my |final |short |correct )*(?:answer|response|reply|question)(?: is)?"
    r"|(?:the |see )?(?:passage|context|document|source|reference)s?(?: \d+)?"
    r"|(?:great|good|excellent) question|(?:thanks|thank you|you re welcome|you are welcome)\b.*"
    r"|(?:please )?(?:let me know|feel free|don t hesitate|do not hesitate)\b.*|i hope (?:this|that) helps.*"
    r"|i (?:m|am) (?:so |very )?sorry (?:to hear|that|about|for)\b.*|is there anything else\b.*"
    r"|(?:yes|no|sure|certainly|of course|absolutely|unfortunately|sorry|generally)(?: (?:not|no|yes))?"
)
_FRAMING = frozenset({"answer", "response", "reply", "question", "passage", "passages", "context"})
_LONGEST = 80
"""Characters of a frame at the most."""


def stated(response: str, judged: Sequence[Claim]) -> list[Claim]:
    """The claims that state something; a single word at the end of mere frames is one that was cut off."""
    plain = without_citations(response)
    said = [claim for claim in judged if not _frames(plain[claim.sentence.start : claim.sentence.end])]
    cut_off = len(judged) > 1 and said == [judged[-1]] and len(said[0].words) == 1
    return [] if cut_off else said


def lacking(claim: Claim) -> list[str]:
    """Words of a claim that no passage holds, without those that any answer may be framed with."""
    return [word for word in claim.missing if word.casefold() not in _FRAMING]


def _frames(sentence: str) -> bool:
    said = " ".join(re.findall(r"\w+", sentence[: _LONGEST + 1].lower()))
    return len(sentence) <= _LONGEST and _FRAME.fullmatch(said) is not None
