import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from factory.mining.miner import mine, miner_version
from factory.mining.ray_engine import _due_in_file, _opened, _records
from factory.mining.settings import MiningSettings
from logs_schema.documents import Document, save_documents
from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.export import export_parquet
from logs_schema.records import Feedback, FeedbackKind, Message, PromptTemplate
from logs_schema.rows import FINDING
from logs_schema.settings import HouseSettings
from logs_schema.store import iter_records, open_store, save_feedback, save_records, writing
from logs_schema.taxonomy import MiningEngine
from tests.stores import NewStore, postgres_only, sqlite_only

HOUSE = HouseSettings()
SETTINGS = MiningSettings()
ROOT = Path(__file__).parents[2]
LIE = "Riders pay 19 dollars to the Zurich office [1]."
ANSWERS = (LIE, "I don't know.", "The City plan costs 72 euros a month [1].", "The City plan costs 72 euros.")
ASKED = ("how much is the city plan per month", "who won the battle of waterloo", "when must i wear a helmet")


def fill(engine: Engine, make: Any, count: int) -> list[Any]:
    prompt = PromptTemplate(system="Answer.", passage="({n}) {text}")
    records = [
        make(
            n,
            response=ANSWERS[n % 4],
            query=ASKED[n % 3],
            prompt=prompt if n % 2 else None,
            history=(Message(role="user", content="hello"),) if n % 5 else (),
            tags=("a", "b") if n % 7 else (),
            latency_ms=n / 7,
        )
        for n in range(count)
    ]
    save_records(engine, records)
    save_feedback(engine, "desk", "trace-0001", [Feedback(identifier="v", kind=FeedbackKind.vote, value=-1, by="x")])
    text = "Napoleon lost the battle of Waterloo; Wellington and Blücher won it in 1815."
    with writing(engine) as connection:
        save_documents(connection, [Document(doc_id="history", version="1", text=text)])
    return records


def findings(engine: Engine) -> list[tuple[Any, ...]]:
    columns = [column for column in FINDING.c if column.name != "mined_at"]
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(FINDING.c.interaction_id))]


def test_an_export_holds_every_record_as_it_is(engine: Engine, make: Any, tmp_path: Path) -> None:
    fill(engine, make, 30)
    export_parquet(engine, tmp_path / "all.parquet")
    stored = [record for batch in iter_records(engine) for record in batch]
    ids = [record.record_id for record in stored]
    assert _records(_opened(tmp_path / "all.parquet"), 0, ids) == stored
    version = miner_version(SETTINGS, HOUSE)
    (due,) = _due_in_file(engine, version, tmp_path / "all.parquet")
    assert sorted(due.ids) == sorted(ids)
    save_records(engine, [make(3, response="changed since")])
    (due,) = _due_in_file(engine, version, tmp_path / "all.parquet")
    assert sorted(due.ids) == sorted(set(ids) - {make(3).record_id})
    mine(engine, SETTINGS, HOUSE)
    assert list(_due_in_file(engine, version, tmp_path / "all.parquet")) == []


def test_what_ray_cannot_read_is_told(
    engine: Engine, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_records(engine, [make(1)])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotReadyError, match=r"groundmill\[ray\]"):
        mine(engine, SETTINGS, HOUSE, run_on=MiningEngine.ray)
    with pytest.raises(InputError, match="cannot be read"):
        _opened(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="cannot be read"):
        _opened(tmp_path / "bad.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"record_id": ["x"]}), tmp_path / "old.parquet")
    with pytest.raises(InputError, match=r"lacks content_hash, prompt.*logs export"):
        _opened(tmp_path / "old.parquet")


# --- a cluster of two nodes ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Ray cluster of two nodes on this machine."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("PYTHONPATH", str(ROOT))
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    made.add_node(**size)
    made.wait_for_nodes()
    patch.setenv("RAY_ADDRESS", made.address)
    yield made.address
    made.shutdown()
    patch.undo()


IGNORED = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # Ray leaves the sockets of its children to the collector
)
ray_warnings = [pytest.mark.filterwarnings(one) for one in IGNORED]


@pytest.mark.slow
class TestOnTwoNodes:
    pytestmark = ray_warnings

    def test_a_parquet_export_is_mined_as_by_one_process(
        self, cluster: str, new_store: NewStore, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("logs_schema.export.GROUP", 25)
        found = []
        for run_on in (MiningEngine.local, MiningEngine.ray):
            folder = tmp_path / run_on.value
            folder.mkdir()
            engine = open_store(new_store(folder))
            fill(engine, make, 110)
            export_parquet(engine, folder / "all.parquet")
            save_records(engine, [make(3, response="No such plan exists here, said the manager."), make(200)])
            report = mine(engine, SETTINGS, HOUSE, run_on=run_on, parquet=folder / "all.parquet")
            assert (report.mined, report.total, report.stages[0].saw) == (111, 111, 111)
            again = mine(engine, SETTINGS, HOUSE, run_on=run_on, parquet=folder / "all.parquet")
            assert again.mined == 0
            found.append(findings(engine))
            engine.dispose()
        assert found[0] == found[1] and {row[3] for row in found[0]} >= {"unfaithful", "retrieval_miss"}

    @postgres_only
    def test_postgresql_is_mined_as_by_one_process(
        self, cluster: str, new_store: NewStore, tmp_path: Path, make: Any
    ) -> None:
        found = []
        for run_on in (MiningEngine.local, MiningEngine.ray):
            engine = open_store(new_store(tmp_path))
            fill(engine, make, 110)
            report = mine(engine, SETTINGS, HOUSE, run_on=run_on, batch=10)
            assert report.mined == 110
            found.append(findings(engine))
            engine.dispose()
        assert found[0] == found[1]

    def test_a_killed_driver_is_resumed(
        self, cluster: str, engine: Engine, store_url: str, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("logs_schema.export.GROUP", 10)
        fill(engine, make, 60)
        export_parquet(engine, tmp_path / "all.parquet")
        program = textwrap.dedent(f"""
            import os, signal
            from pathlib import Path
            from factory.mining.miner import mine
            from logs_schema.taxonomy import MiningEngine
            from factory.mining.settings import MiningSettings
            from logs_schema.settings import HouseSettings
            from logs_schema.store import open_store
            def track(batches, **_):
                for number, batch in enumerate(batches):
                    if number == 2:
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield batch
            mine(open_store("{store_url}"), MiningSettings(), HouseSettings(), run_on=MiningEngine.ray,
                 parquet=Path("{tmp_path}/all.parquet"), track=track)
        """)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": cluster}
        run = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
        assert run.returncode == -signal.SIGKILL and len(findings(engine)) == 20
        report = mine(engine, SETTINGS, HOUSE, run_on=MiningEngine.ray, parquet=tmp_path / "all.parquet")
        assert (report.mined, report.already) == (40, 20)
        with engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(FINDING)) == 60

    @sqlite_only
    def test_a_file_of_this_machine_is_not_for_other_machines(self, engine: Engine, make: Any) -> None:
        save_records(engine, [make(1)])
        with pytest.raises(ConfigurationError, match="PostgreSQL, or --parquet FILE"):
            mine(engine, SETTINGS, HOUSE, run_on=MiningEngine.ray)
