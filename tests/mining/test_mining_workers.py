import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from logs_schema.documents import Document, save_documents
from logs_schema.errors import FactoryError
from logs_schema.rows import FINDING
from logs_schema.settings import HouseSettings
from logs_schema.store import open_store, save_records, writing
from tests.programs import gone, start
from tests.stores import NewStore

HOUSE = HouseSettings()
LIE = "Riders pay 19 dollars to the Zurich office [1]."
ANSWERS = (LIE, "I don't know.", "The City plan costs 72 euros a month [1].", "The City plan costs 72 euros.")


def records(make: Any, count: int) -> list[Any]:
    asked = ("how much is the city plan per month", "who won the battle of waterloo", "when must i wear a helmet")
    return [make(n, response=ANSWERS[n % 4], query=asked[n % 3]) for n in range(count)]


def findings(engine: Engine) -> list[tuple[Any, ...]]:
    columns = [column for column in FINDING.c if column.name != "mined_at"]
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(FINDING.c.interaction_id))]


def corpus(engine: Engine) -> None:
    text = "Napoleon lost the battle of Waterloo; Wellington and Blücher won it in 1815."
    with writing(engine) as connection:
        save_documents(connection, [Document(doc_id="history", version="1", text=text)])


def test_workers_find_what_one_process_finds(new_store: NewStore, tmp_path: Path, make: Any) -> None:
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        engine = open_store(new_store(folder))
        save_records(engine, records(make, 60))
        corpus(engine)
        report = mine(engine, MiningSettings(workers=workers), HOUSE, batch=7)
        assert (report.mined, report.stages[0].saw) == (60, 60)
        assert mine(engine, MiningSettings(workers=workers), HOUSE).mined == 0
        found.append(findings(engine))
        engine.dispose()
    assert found[0] == found[1]
    assert {row[3] for row in found[0]} >= {"unfaithful", "retrieval_miss", "over_refusal"}


def program(url: str, body: str) -> str:
    return textwrap.dedent("""
        import os, signal, sys, time
        import multiprocessing
        from factory.mining.miner import mine
        from factory.mining.settings import MiningSettings
        from logs_schema.settings import HouseSettings
        from logs_schema.store import open_store
        {body}
        if __name__ == "__main__":
            mine(open_store("{url}"), MiningSettings(workers=2), HouseSettings(), batch=3, track=track)
    """).format(url=url, body=body.strip())


KILLED_AT_2 = """
def track(batches, **_):
    for number, batch in enumerate(batches):
        if number == 2:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            {act}
        yield batch
"""


@pytest.mark.slow
def test_a_killed_parent_leaves_no_worker_and_nothing_half_done(
    engine: Engine, store_url: str, tmp_path: Path, make: Any
) -> None:
    save_records(engine, records(make, 30))
    run = start(tmp_path, program(store_url, KILLED_AT_2.format(act="os.kill(os.getpid(), signal.SIGKILL)")))
    out, _ = run.communicate(timeout=300)
    assert run.returncode == -signal.SIGKILL
    assert len(findings(engine)) == 6
    for pid in map(int, out.split()):
        assert gone(pid)
    report = mine(engine, MiningSettings(), HOUSE)
    assert (report.mined, report.already) == (24, 6)


@pytest.mark.slow
def test_a_killed_worker_is_told_in_one_sentence_and_the_next_run_goes_on(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import multiprocessing

    save_records(engine, records(make, 60))

    def track(batches: Any, **_: Any) -> Any:
        for number, batch in enumerate(batches):
            if number == 1:
                for child in multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGKILL)
            yield batch

    with pytest.raises(FactoryError, match=r"A mining process died.*run `factory mine` again"):
        mine(engine, MiningSettings(workers=2), HOUSE, batch=3, track=track)
    before = len(findings(engine))
    assert 3 <= before < 60
    report = mine(engine, MiningSettings(workers=2), HOUSE, batch=7)
    assert (report.mined, report.already, report.total) == (60 - before, before, 60)


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_cleanly(engine: Engine, store_url: str, tmp_path: Path, make: Any) -> None:
    save_records(engine, records(make, 30))
    body = KILLED_AT_2.format(act="os.killpg(0, signal.SIGINT); time.sleep(60)")
    run = start(tmp_path, program(store_url, body))
    out, err = run.communicate(timeout=300)
    assert run.returncode == -signal.SIGINT
    assert err.count("Traceback") == 1 and "KeyboardInterrupt" in err
    assert all(gone(pid) for pid in map(int, out.split()))
    assert len(findings(engine)) == 6
    assert mine(engine, MiningSettings(), HOUSE).mined == 24
