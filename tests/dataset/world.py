"""A small world: documents that each hold one fact, questions about them, and what curators decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, insert, select

from factory.dataset.build import build
from factory.dataset.report import BuildReport
from factory.dataset.settings import DatasetSettings
from factory.mining.abstention import is_abstention
from factory.mining.text import content_words
from logs_schema.records import Context, PromptTemplate, RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records
from logs_schema.tables import QueueItem, Review

NAMES = """
    anchor basket candle drum engine feather guitar hammer island jacket kettle ladder mirror needle orchard
    pillow quilt rocket saddle teapot umbrella violin wagon xylophone yacht zipper acorn bridge copper dragon
    easel falcon garnet harbor iguana jasmine kernel lantern magnet nectar otter pebble quarry ribbon satchel
    turbine urchin velvet
"""
THINGS = NAMES.split()
HOUSE = HouseSettings()
START = datetime(2026, 1, 1, tzinfo=UTC)


def examples(count: int) -> settings:
    """So many examples of a property, however slow the machine is at the moment."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def words_held(pairs: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
    """A groundedness that tests can follow: share of the content words that the contexts hold, 0 for another figure."""
    scores = []
    for answer, texts in pairs:
        said = {token.norm for token in content_words(answer)}
        held = {token.norm for text in texts for token in content_words(text)}
        figures = {word for word in said if word.isdigit()}
        scores.append(len(said & held) / len(said) if said and figures <= held else 0.0)
    return scores


def abstains(text: str) -> bool:
    return is_abstention(text, HOUSE.abstention)


def passage(thing: int, version: str = "1", days: int = 0) -> Context:
    name = THINGS[thing]
    return Context(
        text=f"The {name} weighs {100 + thing} grams and was built by the {name} guild.",
        doc_id=f"doc-{name}",
        version=version,
        updated_at=START + timedelta(days=days),
        score=1.0,
    )


def asked(
    number: int,
    thing: int,
    shown: Sequence[int],
    *,
    query: str | None = None,
    response: str = "It weighs 9999 grams.",
    **changes: object,
) -> RagRecord:
    """A question about one thing, with the passages of the things in `shown`."""
    return RagRecord.model_validate(
        {
            "source": "test",
            "source_id": f"trace-{number}",
            "occurred_at": START + timedelta(hours=number),
            "query": query or f"Tell me: {THINGS[thing]} {THINGS[thing]}-{number}, how many grams?",
            "contexts": tuple(passage(each) for each in shown),
            "response": response,
            "prompt": PromptTemplate(system="Answer from the passages."),
            **changes,
        }
    )


def ideal(thing: int) -> str:
    return f"The {THINGS[thing]} weighs {100 + thing} grams."


@dataclass
class World:
    """A store, and short ways to fill it and to build from it."""

    engine: Engine
    folder: Path
    records: list[RagRecord] = field(default_factory=list)
    queue: dict[str, dict[str, object]] = field(default_factory=dict)
    reviews: list[dict[str, object]] = field(default_factory=list)
    settings: DatasetSettings = field(default_factory=lambda: DatasetSettings(min_rows=1, general_share=0.0))

    def review(
        self,
        record: RagRecord,
        decision: str,
        answer: str | None = None,
        *,
        audit: bool = False,
        reviewer: str = "ann",
        **changes: object,
    ) -> str:
        """A review that `build` finds in the store; the record's id."""
        self.records.append(record)
        self.queue.setdefault(
            record.record_id,
            {
                "interaction_id": record.record_id,
                "reason": "audit" if audit else "finding",
                "failure": None if audit else "unfaithful",
                "priority": 1.0,
                "queued_at": START,
            },
        )
        values = {
            "id": f"{record.record_id[:12]}-{reviewer}",
            "interaction_id": record.record_id,
            "reviewer": reviewer,
            "decision": decision,
            "ideal_answer": answer,
            "draft": None,
            "audit": audit,
            "draft_source": "none",
            "guidelines_version": HOUSE.guidelines_version,
            "record_hash": record.exchange_hash,
            "reviewed_at": START + timedelta(days=30),
            "pulled_at": START + timedelta(days=31),
        }
        self.reviews.append(values | changes)
        return record.record_id

    def save(self) -> None:
        """Put what was reviewed since the last time into the store."""
        save_records(self.engine, self.records)
        with self.engine.begin() as connection:
            known = set(connection.scalars(select(QueueItem.interaction_id)))
            new = [item for record_id, item in self.queue.items() if record_id not in known]
            for table, rows in ((QueueItem, new), (Review, self.reviews)):
                if rows:
                    connection.execute(insert(table.__table__), rows)  # type: ignore[attr-defined]
        self.records, self.reviews = [], []

    def fill(self, things: range, *, each: int = 1, abstentions: int = 0, audit: int = 0) -> None:
        """`each` answered questions a thing, unanswerable ones, and audit rows of both kinds."""
        number = things.start * 1000
        for thing in things:
            for _ in range(each):
                others = [(thing + step) % len(THINGS) for step in (7, 11, 13)]
                shown = [*others[:1], thing, *others[1:]]
                self.review(asked(number, thing, shown), "answer", ideal(thing))
                number += 1
        for at in range(abstentions):
            thing = things.start + at % len(things)
            shown = [(thing + step) % len(THINGS) for step in (3, 5, 9)]
            self.review(
                asked(number, thing, shown, query=f"Which colour {at} has the old {THINGS[thing]} number {at}?"),
                "abstain",
            )
            number += 1
        for at in range(audit):
            thing = (things.stop + at) % len(THINGS)
            self.review(
                asked(number, thing, [thing, (thing + 3) % len(THINGS)], query=f"{THINGS[thing]} grams {at} please"),
                "answer",
                ideal(thing),
                audit=True,
            )
            self.review(
                asked(number + 1, thing, [(thing + 3) % len(THINGS)], query=f"Is {at} {THINGS[thing]} tasty or {at}?"),
                "abstain",
                audit=True,
            )
            number += 2

    def build(
        self, general: Callable[[int], Sequence[tuple[str, str]]] | None = None, **changes: object
    ) -> BuildReport:
        self.save()
        return build(
            self.engine,
            self.settings.model_copy(update=changes),
            HOUSE,
            folder=self.folder,
            groundedness=words_held,
            is_abstention=abstains,
            general=general,
        )
