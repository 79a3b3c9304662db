"""Measure reading logs in, reading the same file again, and reading records back for mining.

`scripts/bench import [--interactions N]` makes N native JSON lines of five contexts each (20,000 distinct passages),
and ten times as many for the memory, which is measured at both. Every step runs in a process of its own. Baselines
are measured in the same run:

* import: orjson reads every line, and `sqlite3.executemany` puts the same rows into the same tables and indexes, in
  transactions of as many lines and with the same settings of the connection (write-ahead log, every commit synced);
* reading back: the same records as SQLModel entities, page by page, without making records of them.
"""

import argparse
import gzip
import hashlib
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from figures import Figure, apart, run_step, table, timed, told

CONTENT = {
    "interaction": "id",
    "context": "interaction_id, rank",
    "passage": "hash",
    "prompt": "hash",
    "feedback": "source, source_id, identifier",
}
"""Tables that an import fills, and their keys."""
PII_SHARE = 10
"""With personal data replaced, one of so many interactions is measured."""


def make(file: str, count: str) -> dict[str, Any]:
    """A log file, and its size."""
    from made_logs import write

    write(Path(file), int(count))
    return {"bytes": Path(file).stat().st_size}


def packed(file: str) -> dict[str, Any]:
    """Size of the file packed by gzip."""
    with Path(file).open("rb") as stream, tempfile.TemporaryFile() as out:
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as pack:
            shutil.copyfileobj(stream, pack)
        return {"bytes": out.tell()}


def import_(store: str, file: str, pii: str = "") -> dict[str, Any]:
    """Import a file as `factory import` does, with as many processes as it takes by default."""
    from logs_schema.importers.run import import_files
    from logs_schema.pii.replace import cleaner
    from logs_schema.settings import ImportSettings, PiiSettings
    from logs_schema.store import open_store

    found: dict[str, Any] = {}
    engine = open_store(f"sqlite:///{store}")
    with timed(found):
        clean = cleaner(engine, PiiSettings()) if pii else None
        report = import_files(engine, [file], clean=clean, workers=ImportSettings().workers)
    engine.dispose()
    (one,) = report.files
    counts = one.model_dump(include={"read", "new", "updated", "unchanged", "rejected"})
    return {**found, **counts, "replaced": sum(report.replaced.values()), "bytes": Path(store).stat().st_size}


def digest(store: str) -> dict[str, Any]:
    """Hash of all that the store holds, and how much that is."""
    hashed, counts = hashlib.sha256(), {}
    with sqlite3.connect(store) as database:
        for name, key in CONTENT.items():
            counts[name] = 0
            for row in database.execute(f"SELECT * FROM {name} ORDER BY {key}"):
                hashed.update(repr(row).encode())
                counts[name] += 1
    return {"hash": hashed.hexdigest(), **counts}


def baseline(store: str, file: str, empty: str) -> dict[str, Any]:
    """Read every line with orjson, and insert the rows of the store into an empty one."""
    import orjson

    from logs_schema.database import PRAGMAS
    from logs_schema.importers.read import BATCH
    from logs_schema.store import open_store

    open_store(f"sqlite:///{empty}").dispose()
    target = sqlite3.connect(empty, isolation_level=None)
    for pragma in PRAGMAS:
        target.execute(f"PRAGMA {pragma}")
    found: dict[str, Any] = {}
    rows = batches_of_rows(store, BATCH)
    with Path(file).open("rb") as lines:
        while some := list(islice(lines, BATCH)):
            tables = next(rows)
            with timed(found, "parse_"):
                for line in some:
                    orjson.loads(line)
            with timed(found, "insert_"):
                target.execute("BEGIN IMMEDIATE")
                for name, values in tables.items():
                    if values:
                        marks = ", ".join("?" * len(values[0]))
                        target.executemany(f"INSERT INTO {name} VALUES ({marks})", values)
                target.execute("COMMIT")
    with timed(found, "insert_"):
        target.close()
    found |= {name: found[f"parse_{name}"] + found[f"insert_{name}"] for name in ("seconds", "cpu")}
    return found


def batches_of_rows(store: str, size: int) -> Iterator[dict[str, list[tuple[Any, ...]]]]:
    """The rows of a store by table, in the order in which they came, as many interactions at a time."""
    database = sqlite3.connect(store)
    interactions = database.execute("SELECT * FROM interaction ORDER BY rowid")
    by_interaction = "SELECT c.* FROM context c WHERE c.interaction_id = ? ORDER BY rank"
    by_trace = "SELECT f.* FROM feedback f WHERE source = ? AND source_id = ?"
    names = [column[0] for column in interactions.description]
    link = [column[0] for column in database.execute("SELECT * FROM context LIMIT 0").description].index("passage_hash")
    identifier, source, trace = (names.index(name) for name in ("id", "source", "source_id"))
    seen: set[str] = set()
    while some := interactions.fetchmany(size):
        links = [row for one in some for row in database.execute(by_interaction, (one[identifier],))]
        told = [row for one in some for row in database.execute(by_trace, (one[source], one[trace]))]
        new = sorted({row[link] for row in links} - seen)
        seen.update(new)
        texts = [database.execute("SELECT * FROM passage WHERE hash = ?", (name,)).fetchone() for name in new]
        yield {"passage": texts, "interaction": some, "context": links, "feedback": told}


def read_records(store: str) -> dict[str, Any]:
    """Read everything back as `factory mine` does."""
    from logs_schema.store import iter_unmined, load_records, open_store

    found: dict[str, Any] = {}
    engine = open_store(f"sqlite:///{store}")
    with timed(found):
        count = sum(len(load_records(engine, ids)) for ids in iter_unmined(engine, "benchmark"))
    return {**found, "count": count}


def read_entities(store: str) -> dict[str, Any]:
    """Read everything back as SQLModel entities, in pages of the same size."""
    from sqlalchemy import tuple_
    from sqlmodel import Session, col, select

    from logs_schema.rows import CHUNK
    from logs_schema.store import open_store
    from logs_schema.tables import ContextLink, FeedbackEvent, Interaction, Passage

    found: dict[str, Any] = {}
    engine = open_store(f"sqlite:///{store}")
    key = tuple_(col(Interaction.occurred_at), col(Interaction.id))
    query = select(Interaction).order_by(col(Interaction.occurred_at), col(Interaction.id)).limit(CHUNK)
    count, page = 0, query
    with timed(found):
        while True:
            with Session(engine) as session:
                entities = session.exec(page).all()
                if not entities:
                    break
                ids = [entity.id for entity in entities]
                traces = [entity.source_id for entity in entities]
                joined = select(ContextLink, Passage).join(Passage, col(Passage.hash) == col(ContextLink.passage_hash))
                session.exec(joined.where(col(ContextLink.interaction_id).in_(ids))).all()
                session.exec(select(FeedbackEvent).where(col(FeedbackEvent.source_id).in_(traces))).all()
                count += len(entities)
                page = query.where(key > (entities[-1].occurred_at, entities[-1].id))
    return {**found, "count": count}


STEPS = {
    "make": make,
    "packed": packed,
    "import": import_,
    "digest": digest,
    "baseline": baseline,
    "read": read_records,
    "entities": read_entities,
}


def measure(folder: Path, count: int, large: int) -> list[Figure]:
    """All figures."""

    def step(name: str, *arguments: object) -> dict[str, Any]:
        return apart(__file__, name, *map(str, arguments))

    def speed(step: dict[str, Any], of: int = count) -> str:
        return f"{of / step['seconds']:,.0f} a second ({step['seconds']:.1f} s, {step['cpu']:.1f} s of CPU)"

    logs, store, private, empty = (folder / name for name in ("logs.jsonl", "store.db", "private.db", "empty.db"))
    raw = step("make", logs, count)["bytes"]
    first = step("import", store, logs)
    before = step("digest", store)
    plain = step("baseline", store, logs, empty)
    empty.unlink()
    again = step("import", store, logs)
    after = step("digest", store)
    records, entities = step("read", store), step("entities", store)
    if not first["new"] == again["unchanged"] == records["count"] == entities["count"] == count:
        raise SystemExit(f"the counts differ: {first}, {again}, {records}, {entities}")
    few = folder / "few.jsonl"
    step("make", few, count // PII_SHARE)
    with_pii = step("import", private, few, "pii")
    pii_again = step("import", private, few, "pii")
    gz = step("packed", logs)["bytes"]
    told(f"store: {before}")
    if after | {"peak": before["peak"]} != before:  # the peak is that of the measuring itself
        raise SystemExit(f"the second import changed the store: {before}, then {after}")
    same = "nothing changed: the hash over all rows is the same"
    on = f"{count:,} interactions of 5 contexts, {before['passage']:,} passages, {raw / 1e6:,.0f} MB of JSONL"
    some = f"the first {count // PII_SHARE:,} of them, {with_pii['replaced']:,} placeholders"
    figures = [
        Figure("import", speed(first), speed(plain), plain["seconds"] / first["seconds"], (">=", 0.5), on),
        Figure("the same, CPU only", f"{first['cpu']:.1f} s", f"{plain['cpu']:.1f} s", plain["cpu"] / first["cpu"],
               None, "the same run; of all processes, without waiting for the disk"),
        Figure("import with personal data replaced", speed(with_pii, count // PII_SHARE), speed(plain),
               plain["seconds"] / PII_SHARE / with_pii["seconds"], None, some),
        Figure("second import of the same file", speed(again), f"first: {first['seconds']:.1f} s",
               first["seconds"] / again["seconds"], (">=", 3.0), f"{on}; {same}"),
        Figure("the same, personal data replaced", speed(pii_again, count // PII_SHARE),
               f"first: {with_pii['seconds']:.1f} s", with_pii["seconds"] / pii_again["seconds"], (">=", 3.0), some),
        Figure("reading back for mining", speed(records), speed(entities), entities["seconds"] / records["seconds"],
               (">=", 3.0), f"{records['count']:,} records, against SQLModel entities"),
        Figure("the same, CPU only", f"{records['cpu']:.1f} s", f"{entities['cpu']:.1f} s",
               entities["cpu"] / records["cpu"], None, "the same run"),
        Figure("size on disk", f"{first['bytes'] / 1e6:,.0f} MB", f"{raw / 1e6:,.0f} MB of JSONL",
               first["bytes"] / raw, None, f"{on}; packed by gzip the JSONL is {gz / 1e6:,.0f} MB"),
    ]  # fmt: skip
    for path in (store, private, logs, few):
        path.unlink()
    step("make", logs, large)
    big = step("import", store, logs)
    ratio = big["peak"] / first["peak"]
    figures.append(
        Figure("peak memory of an import", f"{big['peak']:.0f} MB", f"{first['peak']:.0f} MB at {count:,}", ratio,
               ("<=", 1.2), f"{large:,} interactions, {speed(big, large)}, {big['bytes'] / 1e6:,.0f} MB store")
    )  # fmt: skip
    return figures


def main() -> None:
    """Measure, print the table, and exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench import", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--interactions", type=int, default=100_000, metavar="N", help="[default: 100000]")
    parser.add_argument("--large", type=int, metavar="N", help="for the memory  [default: ten times as many]")
    parser.add_argument("--dir", type=Path, help="where the files go meanwhile  [default: a temporary folder]")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(STEPS, options.step, options.arguments)
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        figures = measure(Path(folder), options.interactions, options.large or 10 * options.interactions)
    print(table(figures))
    sys.exit(0 if all(figure.holds for figure in figures) else 1)


if __name__ == "__main__":
    main()
