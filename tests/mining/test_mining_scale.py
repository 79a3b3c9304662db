import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from factory.mining.finding import Finding
from factory.mining.miner import mine, miner_version
from factory.mining.settings import MiningSettings, SignalSettings
from logs_schema.prepared import CONTEXT_COLUMNS, INTERACTION_COLUMNS, context_rows, interaction_row
from logs_schema.records import Context, passage_hash, record_id
from logs_schema.rows import CONTEXT, FINDING, INTERACTION, PASSAGE, chunks, put
from logs_schema.scores import Scores
from logs_schema.settings import HouseSettings
from logs_schema.store import iter_unmined, writing
from logs_schema.tables import now
from logs_schema.taxonomy import Failure, Route
from tests.mining.conftest import MONDAY
from tests.stores import SERVER

HOUSE = HouseSettings()
MANY = 20_000 if SERVER else 100_000


def name_of(number: int) -> str:
    return record_id("desk", str(number))


@pytest.fixture
def mined_store(engine: Engine, make: Any) -> Engine:
    """A store of many records that were all mined; one in a hundred is unfaithful."""
    version, moment = miner_version(MiningSettings(), HOUSE), now()
    record = make(0, contexts=tuple(Context(text=f"Passage {n}.", doc_id=f"d{n}") for n in range(3)))
    # sessions of what came in the last minutes are always read again
    one = dict(zip(INTERACTION_COLUMNS, interaction_row(record, "h"), strict=True))
    one |= {"line_hash": None, "imported_at": moment - timedelta(days=1)}
    passages = [(passage_hash(context.text), context.text) for context in record.contexts]
    links = [dict(zip(CONTEXT_COLUMNS, row, strict=True)) for row in context_rows(record, passages)]
    with writing(engine) as connection:
        put(connection, PASSAGE, [{"hash": row["passage_hash"], "text": "x"} for row in links], replace=False)
        for numbers in chunks(range(MANY), 5000):
            rows, contexts, findings = [], [], []
            for n in numbers:
                name = name_of(n)
                when = MONDAY + timedelta(seconds=30 * n)
                rows.append({**one, "id": name, "source_id": str(n), "occurred_at": when, "user_id": f"u{n % 5000}"})
                contexts += [{**link, "interaction_id": name} for link in links]
                bad = n % 100 == 0
                finding = Finding(
                    record_id=name,
                    failure=Failure.unfaithful if bad else Failure.none,
                    route=Route.behaviour if bad else Route.no_action,
                    confidence=0.5,
                    scores=Scores(),
                    why="",
                )
                kept = {"miner_version": version, "record_hash": "h", "mined_at": moment}
                values = finding.model_dump(mode="json", exclude={"record_id"})
                findings.append({"interaction_id": name, **kept, **values})
            put(connection, INTERACTION, rows, replace=False)
            put(connection, CONTEXT, contexts, replace=False)
            put(connection, FINDING, findings, replace=False)
    return engine


@pytest.mark.slow
def test_an_unchanged_store_takes_seconds_and_a_changed_one_only_what_changed(mined_store: Engine) -> None:
    signals = SignalSettings()
    mine(mined_store, MiningSettings(), HOUSE, signals=signals)  # reads the sessions, and fills the queue
    seconds = []
    for _ in range(3):
        started = time.process_time()
        report = mine(mined_store, MiningSettings(), HOUSE, signals=signals)
        seconds.append(time.process_time() - started)
        assert (report.mined, report.already, report.total) == (0, MANY, MANY)

    assert min(seconds) < 3
    with writing(mined_store) as connection:
        connection.execute(delete(FINDING).where(FINDING.c.interaction_id == name_of(7)))
        connection.execute(update(INTERACTION).where(INTERACTION.c.id == name_of(9)).values(content_hash="other"))
    assert mine(mined_store, MiningSettings(), HOUSE).mined == 2
    changed = miner_version(MiningSettings(faithful=0.6), HOUSE)
    assert sum(len(page) for page in iter_unmined(mined_store, changed)) == MANY
    with mined_store.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(FINDING)) == MANY
