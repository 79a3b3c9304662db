"""Rows that were right once: the document, the guidelines, or the record itself has changed since."""

from collections.abc import Iterable, Mapping

from logs_schema.documents import Version
from logs_schema.records import Context, RagRecord

OTHER_GUIDELINES = "reviewed under another version of the guidelines"
CHANGED = "the record changed after it was reviewed"
STALE = "a newer version of an evidence document exists"
WITHDRAWN = "an evidence document was withdrawn"

Latest = Mapping[str, Version]
"""Document id → its newest version that a log or the documents feed shows."""


def same_guidelines(reviewed_under: str, current: str) -> str | None:
    """Refuse a review that was made under another version of the guidelines."""
    return None if reviewed_under == current else OTHER_GUIDELINES


def unchanged(seen: str, record: RagRecord) -> str | None:
    """Refuse a review of a record whose question, contexts, prompt or response are no longer what was seen.

    Args:
        seen: hash kept with the review, `exchange_hash` or `content_hash`. Only the former outlives new feedback.
        record: the record as it is now.
    """
    return None if seen in (record.exchange_hash, record.content_hash) else CHANGED


def current_evidence(evidence: Iterable[Context], latest: Latest) -> str | None:
    """Refuse an answer from a document that has a newer version or is gone. Distractors may be old: they teach nothing.

    Moments decide; without them numeric versions do; other versions that differ cannot be ordered and count as newer.
    """
    for context in evidence:
        known = latest.get(context.doc_id) if context.doc_id else None
        if known and _older(context, known):
            return WITHDRAWN if known.withdrawn else STALE
    return None


def _older(context: Context, newest: Version) -> bool:
    version = newest.version
    if context.updated_at and newest.updated_at:
        return context.updated_at < newest.updated_at
    if newest.withdrawn:
        return True
    if context.version is None or version is None or context.version == version:
        return False
    if context.version.isdecimal() and version.isdecimal():
        return int(context.version) < int(version)
    return True
