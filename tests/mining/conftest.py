"""A small help desk's records, and a store to put them in."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logs_schema.records import Context, RagRecord

PLANS = (
    "Pedalport offers three monthly plans. The City plan costs 72 euros a month for the everyday step-through bike. "
    "All plan prices include VAT."
)
TRIAL = (
    "The free trial lasts 14 days and starts on the day the bike is handed over. The Cargo plan has no trial. "
    "To end the trial, tap Plan, then End trial, before 20:00 on day 14."
)
HELMETS = "Helmets are strongly recommended for adults and compulsory for riders aged 16 and 17."
MONDAY = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)

Make = Callable[..., RagRecord]


@pytest.fixture
def make() -> Make:
    """A record whose defaults are a good answer from good contexts."""

    def record(number: int = 0, **given: Any) -> RagRecord:
        fields: dict[str, Any] = {
            "source": "desk",
            "source_id": f"trace-{number:04d}",
            "occurred_at": MONDAY + timedelta(minutes=number),
            "query": "how much is the city plan per month",
            "contexts": (
                Context(text=PLANS, doc_id="plans", title="Plans and prices"),
                Context(text=TRIAL, doc_id="trial", title="The free trial"),
            ),
            "response": "The City plan costs 72 euros a month [1].",
        }
        return RagRecord(**{**fields, **given})

    return record
