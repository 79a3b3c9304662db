"""Forgetting everywhere: the bytes of the store, dataset folders, kept answers, rejects; also when it is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, update
from typer.testing import CliRunner

from factory.check import check
from factory.cli.app import app
from factory.dataset.folder import read_examples
from factory.dataset.versions import verify, version
from factory.forget import ROWS, forget
from factory.mining.findings import load_finding
from factory.mining.miner import mine
from factory.settings import ScheduleSettings, Settings
from factory.status import status
from logs_schema.errors import InputError, NotReadyError
from logs_schema.forgetting import Gone
from logs_schema.importers.document_feed import import_documents
from logs_schema.marks import FORGOTTEN
from logs_schema.records import Feedback, FeedbackKind, RagRecord, record_id
from logs_schema.rows import QUEUE
from logs_schema.settings import PiiSettings, StoreSettings
from logs_schema.store import load_records, save_records
from logs_schema.tables import Adapter, DatasetRow, Promotion
from logs_schema.taxonomy import Split
from tests.dataset.world import START, THINGS, World, asked, ideal
from tests.stores import sqlite_only, words_in
from training.answer_cache import AnswerCache
from training.pipeline import run_training
from training.registry import adapter_list, promote

ADAPTER = "ad" * 8
VICTIM = record_id("test", "trace-3000")
WORDS = b"anchor-3000"
"""Stands in the question of the victim's record, and nowhere else."""

KILLED = """
import os, signal, sys
from pathlib import Path
import factory.erase_files as files, factory.forget as it
from factory.settings import load
from logs_schema.store import open_store

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

place = {"store": (it, "_forget_in_store"), "noted": (files, "forget_answers"), "answers": (files, "_drop_examples"),
         "files": (it, "pack"), "packed": (it, "_done")}[sys.argv[2]]
setattr(*place, die)
settings = load(Path(sys.argv[1]))
it.forget(open_store(settings.store_url), settings, users=["jane@x.example"])
"""


class Place:
    """A folder with a store, a dataset, an adapter that runs, and answers kept of an evaluation."""

    def __init__(self, folder: Path, store_url: str, engine: Engine) -> None:
        self.root = folder
        (folder / "factory.toml").write_text(f'[store]\nurl = "{store_url}"\n[pii]\nenabled = false\n')
        self.settings = Settings(root=folder, store=StoreSettings(url=store_url), pii=PiiSettings(enabled=False))
        self.engine = engine
        world = World(self.engine, folder / "datasets")
        world.fill(range(30), each=1, abstentions=8, audit=3)
        query = "Tell me: anchor-3000 of guild, how many grams?"
        name = {"query": query, "user_id": "jane@x.example"}
        world.review(asked(3000, 40, [7, 40, 9], **name), "answer", ideal(40))  # type: ignore[arg-type]
        self.dataset_id = world.build().dataset_id
        self.dataset = folder / "datasets" / self.dataset_id
        self.made_with = self._row()
        self._evaluated()

    def _row(self) -> str:
        rows = {row.record_id: row for split in Split for row in read_examples(self.dataset, split)}
        self.row = rows[VICTIM]
        return self.row.split.value

    def _evaluated(self) -> None:
        made = {"base_model": "tiny", "path": str(self.root / "a"), "sha256": "0", "seed": 1, "config": {}}
        with self.engine.begin() as connection:
            connection.execute(insert(Adapter).values(id=ADAPTER, dataset_id=self.dataset_id, created_at=START, **made))
            connection.execute(
                insert(Promotion).values(action="promote", adapter_id=ADAPTER, by="lea", created_at=START)
            )
        cache = AnswerCache(self.root / "evaluations/answers/k-64.jsonl")
        others = read_examples(self.dataset, Split.train)[:2]
        cache.add(
            [(self.row.prompt, "anchor-3000 kept"), *((row.prompt, "other") for row in others if row != self.row)]
        )
        lines = [{"example_id": row.example_id, "query": row.query} for row in (self.row, *others)]
        folder = self.root / "evaluations/0123"
        folder.mkdir()
        (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (self.root / "rejects").mkdir()
        rejected = [{"text": '{"user_id": "jane@x.example", "query": "anchor-3000"}'}, {"text": '{"user_id": "other"}'}]
        (self.root / "rejects/a.rejects.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rejected))

    def holding(self) -> list[str]:
        """Where there is a byte of the victim's: files, and rows of the store."""
        said = {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        said["rows"] = words_in(self.engine).encode()
        return [place for place, data in said.items() if WORDS in data or b"jane@x" in data]


@pytest.fixture
def place(tmp_path: Path, store_url: str, engine: Engine) -> Place:
    return Place(tmp_path, store_url, engine)


def test_a_user_is_forgotten_everywhere(place: Place) -> None:
    assert len(place.holding()) >= 5
    planned = forget(place.engine, place.settings, users=["jane@x.example"], dry_run=True)
    assert planned.traces == 1 and planned.datasets and len(place.holding()) >= 5
    report = forget(place.engine, place.settings, users=["jane@x.example"])
    assert (report.rows, report.datasets) == (planned.rows, planned.datasets)
    assert report.rows["records"] == report.rows["reviews"] == report.rows["queued"] == 1
    assert report.files.dataset_rows == 1 and report.files.answers >= 2 and report.files.rejected_lines == 1
    assert report.adapters[0].adapter_id == ADAPTER and report.adapters[0].state == "champion" and not report.left
    assert getattr(report.datasets[place.dataset_id], place.made_with) == 1
    assert place.holding() == []
    with place.engine.connect() as connection:
        kept = connection.execute(select(DatasetRow.__table__).where(DatasetRow.interaction_id == VICTIM)).all()  # type: ignore[attr-defined,arg-type]
    assert len(kept) == 1  # lineage stays, as hashes
    assert forget(place.engine, place.settings).traces == 0
    again = forget(place.engine, place.settings, users=["jane@x.example"])
    assert (again.traces, again.datasets, again.left) == (0, {}, ())


def test_what_learned_from_it_says_so(place: Place) -> None:
    forget(place.engine, place.settings, traces=["trace-3000"])
    assert "FORGOTTEN since" in version(place.engine).text() and "FORGOTTEN since" in adapter_list(place.engine).text()
    assert json.loads((place.dataset / "forgotten.json").read_text())["rows"][place.made_with] == 1
    for refused in (
        lambda: verify(place.engine),
        lambda: run_training(place.engine, place.settings.training, root=place.root),
    ):
        with pytest.raises(NotReadyError, match="were forgotten since it was built"):
            refused()
    found = check(place.engine)
    assert any("lacks rows that were forgotten" in note for note in found.notes)
    assert [problem for problem in found.problems if "dataset" in problem] == []
    if place.made_with != "test":
        seen = status(place.engine, schedule=ScheduleSettings(silent_after_hours=1e6), miner_version="m")
        assert any("made with rows that were forgotten" in problem for problem in seen.problems)
        with pytest.raises(NotReadyError, match="forgotten since"):
            promote(place.engine, ADAPTER, by="lea")
    with pytest.raises(InputError, match="knows no trace"):
        forget(place.engine, place.settings, traces=["trace-99999"])


def test_a_document_goes_with_every_row_that_shows_it(place: Place) -> None:
    name = f"doc-{THINGS[3]}"
    shows = [row for split in Split for row in read_examples(place.dataset, split)]
    doomed = [row for row in shows if any(context.doc_id == name for context in row.contexts)]
    report = forget(place.engine, place.settings, documents=[name])
    left = [
        json.loads(line)
        for split in Split
        for line in (place.dataset / f"{split.value}.jsonl").read_text().splitlines()
    ]
    assert len(doomed) == report.files.dataset_rows == len(shows) - len(left) > 0
    assert not any(context["doc_id"] == name for row in left for context in row["contexts"])
    assert sum(report.datasets[place.dataset_id].model_dump().values()) == len(doomed)
    text = f"The {THINGS[3]} weighs".encode()
    assert not any(text in path.read_bytes() for path in place.root.glob("store.db*"))


@pytest.mark.parametrize(
    "at",
    [
        "noted",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("store", "answers", "packed")),
        pytest.param("files", marks=[pytest.mark.slow, sqlite_only]),
    ],
)
def test_a_killed_run_is_completed_by_the_next(place: Place, at: str) -> None:
    place.engine.dispose()
    arguments = [str(place.root / "factory.toml"), at]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    if at != "store":
        seen = status(place.engine, schedule=ScheduleSettings(silent_after_hours=1e6), miner_version="m")
        assert any("run `factory logs forget` again" in problem for problem in seen.problems)
    names = ["jane@x.example"] if at == "store" else []
    assert forget(place.engine, place.settings, users=names).left == ()
    assert place.holding() == []
    assert load_records(place.engine, [VICTIM]) == {}
    with place.engine.connect() as connection:
        assert connection.execute(select(FORGOTTEN).where(FORGOTTEN.c.left_to_do.is_not(None))).all() == []


@pytest.mark.filterwarnings("ignore:Support for class-based `config`:pydantic.warnings.PydanticDeprecatedSince20")
def test_what_is_in_an_argilla_that_does_not_answer_is_left_and_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "http://127.0.0.1:9 groundmill/rag-review"
    with place.engine.begin() as connection:
        connection.execute(QUEUE.update().values(pushed_at=START, pushed_to=target))
    labeling = place.settings.labeling.model_copy(update={"api_url": "http://127.0.0.1:9"})
    settings = place.settings.model_copy(update={"labeling": labeling})
    monkeypatch.setenv("FACTORY_ARGILLA_API_KEY", "k")
    for asked_for in (["jane@x.example"], []):
        report = forget(place.engine, settings, users=asked_for)
        assert len(report.left) == 1 and "1 record in Argilla: No Argilla answers" in report.text()
    assert place.holding() == []


def test_the_command_asks_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.root)
    runner = CliRunner()
    unsure = runner.invoke(app, ["logs", "forget", "--trace", "trace-3000"])
    assert unsure.exit_code == 2 and "Would forget 1 trace:" in unsure.stdout and "--yes" in unsure.stderr
    assert runner.invoke(app, ["logs", "forget", "--trace", "trace-3000", "--dry-run"]).exit_code == 0
    sure = runner.invoke(app, ["logs", "forget", "--trace", "trace-3000", "--yes", "--json"])
    assert sure.exit_code == 0 and json.loads(sure.stdout)["traces"] == 1, sure.output
    assert "forgotten rows" in runner.invoke(app, ["status"]).stdout
    pruned = runner.invoke(app, ["logs", "prune", "--older-than", "30d"])
    assert pruned.exit_code == 0 and "Kept" in pruned.stdout
    assert runner.invoke(app, ["logs", "prune", "--older-than", "soon"]).exit_code == 2


def test_what_is_not_there_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.root)
    runner = CliRunner()
    unknown = ["logs", "forget", "--user", "nobody", "--document", "nothing"]
    assert runner.invoke(app, [*unknown, "--dry-run"]).stdout == "Nothing of what was named is in the store.\n"
    told = runner.invoke(app, [*unknown, "--yes"]).stdout
    assert told == "Nothing of what was named is in the store. Later imports leave it out.\n"
    assert runner.invoke(app, ["logs", "forget"]).stdout == "Nothing was named that is to be forgotten.\n"


def test_every_kind_of_row_has_a_name() -> None:
    assert set(ROWS) == set(Gone._fields)


def test_a_personal_user_id_is_found_as_it_is_stored(
    cli_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = {"query": "q", "response": "r", "timestamp": "2026-03-02T10:00:00Z", "user_id": "jane@x.example"}
    (tmp_path / "l.jsonl").write_text(json.dumps(line) + "\n")
    runner = CliRunner()
    assert runner.invoke(app, ["import", "l.jsonl"]).exit_code == 0
    assert (
        "Forgot 1 trace: 1 record."
        in runner.invoke(app, ["logs", "forget", "--user", "jane@x.example", "--yes"]).stdout
    )
    assert "1 record was forgotten earlier" in runner.invoke(app, ["import", "l.jsonl"]).stdout


def test_records_saved_again_stay_out(place: Place) -> None:
    record = load_records(place.engine, [VICTIM])[VICTIM]
    forget(place.engine, place.settings, traces=[VICTIM])
    assert save_records(place.engine, [record]).new == 0


def test_a_document_of_the_corpus_is_forgotten_with_what_quotes_it(
    engine: Engine, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(root=tmp_path, store=StoreSettings(url=store_url))
    pages = tmp_path / "pages.jsonl"
    text = "The quicksilver plan costs 12 euros a month. It is paid for a year."
    page = {"doc_id": "plans", "version": 1, "text": text}
    others = [{"doc_id": f"p{n}", "version": 1, "text": f"Room {n} is in the yard."} for n in range(9)]
    pages.write_text("".join(json.dumps(row) + "\n" for row in [page, *others]))
    assert import_documents(engine, [str(pages)]).files[0].new == 10
    right = Feedback(identifier="c", kind=FeedbackKind.correction, correction="It costs 12 euros a month.")
    asked_it = {"query": "What does the quicksilver plan cost?", "source": "desk", "occurred_at": START}
    quoting = RagRecord(**asked_it, source_id="a", response="Nothing at all.", feedback=(right,))
    save_records(engine, [quoting])
    mine(engine, settings.mining, settings.house)
    assert "12 euros" in load_finding(engine, quoting.record_id).why
    target = "http://127.0.0.1:6900 w/d"
    with engine.begin() as connection:
        connection.execute(update(QUEUE).values(pushed_at=START, pushed_to=target))
    taken: list[str] = []

    def erase(_: object, where: str, ids: list[str]) -> int:
        assert where == target
        taken.extend(ids)
        return len(ids)

    monkeypatch.setattr("labeling.erase.erase", erase)
    planned = forget(engine, settings, documents=["plans"], dry_run=True)
    report = forget(engine, settings, documents=["plans"])
    assert report.rows == planned.rows and (report.rows["documents"], report.rows["findings"]) == (1, 1)
    assert (report.traces, report.in_argilla, taken, report.left) == (0, 1, [quoting.record_id], ())
    with engine.connect() as connection:
        assert connection.scalars(select(QUEUE.c.pushed_to)).all() == [None]
    assert not any(b"It is paid for a year" in path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert "It is paid for a year" not in words_in(engine)
    again = import_documents(engine, [str(pages)]).files[0]
    assert (again.new, again.unchanged, again.forgotten) == (0, 9, 1)
    assert mine(engine, settings.mining, settings.house).mined == 1
    assert "corpus holds" not in load_finding(engine, quoting.record_id).why
