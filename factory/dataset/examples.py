"""Rows as training reads them: rendered prompts, ids, and general rows."""

import difflib
import math
from collections.abc import Callable, Sequence

from factory.dataset.compose import Draft
from factory.dataset.split import Place, fraction
from logs_schema.examples import TrainingExample
from logs_schema.records import Message, content_hash
from logs_schema.taxonomy import ExampleKind, Split

General = Callable[[int], Sequence[tuple[str, str]]]
"""For a number of rows, so many (prompt, the base model's own reply), always the same ones first."""


def example(draft: Draft, place: Place) -> TrainingExample:
    """One row, rendered as production renders it, from the contexts chosen for it."""
    candidate = draft.candidate
    record, verdict = candidate.record, candidate.verdict
    prompt = candidate.template.render(record.query, draft.contexts, record.history)
    taught = [candidate.record_id, draft.kind, [message.model_dump() for message in prompt], draft.completion]
    drafted = verdict.draft_source != "none" and bool(verdict.draft)
    kept = _similarity(verdict.draft or "", verdict.ideal_answer or "") if drafted else None
    return TrainingExample(
        example_id=content_hash(taught),
        kind=draft.kind,
        split=place.split,
        prompt=prompt,
        completion=draft.completion,
        query=record.query,
        contexts=draft.contexts,
        evidence_ranks=draft.evidence,
        answerable=draft.kind is ExampleKind.answer,
        production_response=(record.response or None) if draft.contexts == record.contexts else None,
        record_id=candidate.record_id,
        review_id=verdict.review_id,
        audit=candidate.audit,
        group=place.group,
        draft_source=verdict.draft_source,
        draft_similarity=kept,
        failure=candidate.failure,
    )


class GeneralRows:
    """General instruction rows: asked for once, and put on a side by the hash of their prompt."""

    def __init__(self, source: General | None, *, validation_share: float, seed: int) -> None:
        self.source = source
        self.validation_share = validation_share
        self.seed = seed
        self.wanted = 0
        self.rows: dict[Split, list[TrainingExample]] = {Split.train: [], Split.validation: []}

    def fetch(self, wanted: int) -> int:
        """Get so many rows for training, and a few for validation beside them; how many there are for training."""
        self.wanted = wanted
        if self.source is None or not wanted:
            return 0
        replies = self.source(math.ceil(wanted / (1 - self.validation_share)))
        for prompt, reply in dict(replies).items():
            split = Split.validation if fraction(self.seed, prompt) < self.validation_share else Split.train
            self.rows[split].append(_general(prompt, reply, split))
        return min(wanted, len(self.rows[Split.train]))

    def examples(self, training: int) -> list[TrainingExample]:
        """The first `training` rows for training, and those for validation."""
        return self.rows[Split.train][:training] + self.rows[Split.validation]


def _general(prompt: str, reply: str, split: Split) -> TrainingExample:
    identifier = content_hash([ExampleKind.general, prompt, reply])
    return TrainingExample(
        example_id=identifier,
        kind=ExampleKind.general,
        split=split,
        prompt=(Message(role="user", content=prompt),),
        completion=reply,
        query=prompt,
        group=f"general-{content_hash(prompt)}",
    )


def _similarity(draft: str, final: str) -> float:
    """Share of words in common and in order (Ratcliff and Obershelp's ratio), 0 to 1."""
    return round(difflib.SequenceMatcher(None, draft.split(), final.split(), autojunk=False).ratio(), 4)
