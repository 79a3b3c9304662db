"""A real Argilla server for the slow tests, and a store with queued records."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from labeling.server.install import default_env, python
from labeling.settings import LabelingSettings
from logs_schema.records import Context, RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.store import open_store, save_records
from logs_schema.tables import FindingRow, QueueItem

HOUSE = HouseSettings()
JANUARY = datetime(2026, 1, 2, tzinfo=UTC)
WHY = "it says 14 days, passage 1 says 30"


@pytest.fixture
def house() -> HouseSettings:
    return HOUSE


@pytest.fixture
def make_record() -> Callable[..., RagRecord]:
    """A record by number, with any of its values changed."""
    return _rag_record


@pytest.fixture
def queue_up() -> Callable[..., None]:
    """Save records with a finding and a place in the queue."""
    return _queued


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def server_env() -> str:
    env = Path(os.environ.get("GROUNDMILL_TEST_ARGILLA_ENV") or default_env())
    if not python(env).exists():
        pytest.fail(f"no Argilla server in {env}: run `factory label install`, or set GROUNDMILL_TEST_ARGILLA_ENV")
    return str(env)


@pytest.fixture
def free_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def new_settings(server_env: str, tmp_path: Path) -> LabelingSettings:
    """Settings of a server that nobody has started."""
    url = f"http://127.0.0.1:{free_port()}"
    return LabelingSettings(api_url=url, home=str(tmp_path / "argilla"), server_env=server_env, curators=("ada", "bob"))


@pytest.fixture(scope="session")
def served(server_env: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LabelingSettings, Any]]:
    """A running server: its settings, and the report of its start."""
    from labeling.server.serve import start, stop

    home = tmp_path_factory.mktemp("argilla")
    url = f"http://127.0.0.1:{free_port()}"
    settings = LabelingSettings(api_url=url, home=str(home), server_env=server_env, curators=("ada", "bob"))
    report, process = start(settings, background=True)
    yield settings, report
    stop(home)
    process.wait(timeout=30)


@pytest.fixture
def labeling(served: tuple[LabelingSettings, Any], request: pytest.FixtureRequest) -> LabelingSettings:
    """Settings of the running server with a dataset of the test's own."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return served[0].model_copy(update={"dataset": f"d-{name}"[:100]})


@pytest.fixture
def log_in(served: tuple[LabelingSettings, Any]) -> Iterator[Callable[[str], "Curator"]]:
    """Log in as a curator, as the page does: with user name and password."""
    settings, report = served
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Curator(settings.api_url, name, report.new_logins[name]))


class Curator:
    """What the page does for a curator, over the same HTTP interface."""

    def __init__(self, url: str, name: str, password: str) -> None:
        import httpx

        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        token = self.http.post("/api/v1/token", data={"username": name, "password": password})
        token.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def __enter__(self) -> "Curator":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def dataset_id(self, name: str) -> str:
        found = self.http.get("/api/v1/me/datasets").raise_for_status().json()["items"]
        return next(str(dataset["id"]) for dataset in found if dataset["name"] == name)

    def search(self, dataset: str, text: str | None = None, **body: Any) -> list[dict[str, Any]]:
        if text is not None:
            body["query"] = {"text": {"q": text}}
        response = self.http.post(
            f"/api/v1/me/datasets/{self.dataset_id(dataset)}/records/search",
            json=body,
            params={"include": ["responses", "suggestions"]},
        )
        return [item["record"] for item in response.raise_for_status().json()["items"]]

    def respond(self, record: dict[str, Any], status: str = "submitted", **values: str) -> dict[str, Any]:
        """Answer one record; an earlier answer is replaced."""
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        mine = self.search_one(record).get("responses") or []
        if mine:
            response = self.http.put(f"/api/v1/responses/{mine[0]['id']}", json=body)
        else:
            response = self.http.post(f"/api/v1/records/{record['id']}/responses", json=body)
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer

    def search_one(self, record: dict[str, Any]) -> dict[str, Any]:
        filters = {
            "and": [{"type": "terms", "scope": {"entity": "record", "property": "id"}, "values": [record["id"]]}]
        }
        response = self.http.post(
            f"/api/v1/me/datasets/{record['dataset_id']}/records/search",
            json={"filters": filters},
            params={"include": ["responses"]},
        )
        found: dict[str, Any] = response.raise_for_status().json()["items"][0]["record"]
        return found


def _rag_record(number: int, **changes: Any) -> RagRecord:
    values: dict[str, Any] = {
        "source": "shop",
        "source_id": f"trace-{number}",
        "occurred_at": datetime(2026, 3, 1, 12, number % 60, tzinfo=UTC),
        "query": f"How long do I have to return order {number}?",
        "contexts": (
            Context(text="Returns are free within 30 days.", title="Returns", updated_at=JANUARY),
            Context(text="Shipping takes two to four days."),
        ),
        "response": f"You have 14 days for order {number} [2].",
    }
    return RagRecord(**{**values, **changes})


def _queued(engine: Engine, *records: RagRecord, audit: tuple[int, ...] = (), why: str = WHY) -> None:
    """Save the records with a finding and a place in the queue; those at the positions `audit` as audit records."""
    save_records(engine, records)
    with Session(engine) as session:
        for at, record in enumerate(records):
            is_audit = at in audit
            session.add(
                FindingRow(
                    interaction_id=record.record_id,
                    miner_version="1",
                    record_hash=record.content_hash,
                    failure="unfaithful",
                    route="behaviour",
                    confidence=0.8,
                    scores={},
                    why=why,
                )
            )
            session.add(
                QueueItem(
                    interaction_id=record.record_id,
                    reason="audit" if is_audit else "finding",
                    failure=None if is_audit else "unfaithful",
                    priority=1.0 - at / 1000,
                )
            )
        session.commit()
