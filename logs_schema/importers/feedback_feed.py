"""Feedback files: votes, annotations and corrections that come after the log, joined by trace whenever they come."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, select

from logs_schema.errors import ConfigurationError
from logs_schema.importers.feeds import Saved, folded, import_feed, pick
from logs_schema.importers.fields import moment, text_of
from logs_schema.importers.parsed import about
from logs_schema.importers.ratings import thumb_of
from logs_schema.importers.read import Line
from logs_schema.importers.reports import FeedReport
from logs_schema.importers.run import check_source
from logs_schema.pii.replace import Cleaner
from logs_schema.records import Feedback, FeedbackKind, content_hash, record_id
from logs_schema.rows import INTERACTION, chunks, content_hashes, feedback_of
from logs_schema.scores import Track, untracked
from logs_schema.store import SaveCounts, Trace, save_feedback_in
from logs_schema.taxonomy import Signal

NAMES: dict[str, tuple[str, ...]] = {
    "trace": ("trace_id", "source_id", "trace"),
    "record": ("record_id", "record"),
    "source": ("source", "application", "app"),
    "identifier": ("identifier", "feedback_id", "event_id", "id"),
    "kind": ("kind", "type", "feedback_type"),
    "value": ("value",),
    "score": ("score",),
    "rating": ("rating", "stars"),
    "thumbs": ("thumbs", "thumb", "vote", "thumbs_up"),
    "label": ("label", "name", "key"),
    "comment": ("comment", "explanation", "note", "reason"),
    "correction": ("correction", "corrected_answer", "correct_answer", "ideal_answer", "expected_answer"),
    "by": ("by", "annotator", "reviewer", "author", "user", "user_id"),
    "occurred_at": ("occurred_at", "timestamp", "created_at", "time", "date"),
    "simulated": ("simulated",),
}
"""Field → names under which it may come, in `feeds.folded` form."""
KINDS = {
    **{kind.value: kind for kind in FeedbackKind},
    "explicit": FeedbackKind.vote,
    "thumbs": FeedbackKind.vote,
    "rating": FeedbackKind.vote,
    "human": FeedbackKind.annotation,
    "signal": FeedbackKind.implicit,
}
RESERVED = frozenset(signal.value for signal in Signal)


class Given(NamedTuple):
    """One row."""

    trace: Trace | None
    record: str | None
    """Record id, when the row names no trace."""
    event: Feedback


class Scale(NamedTuple):
    """What a score or a rating runs from and to; worst first."""

    worst: float
    best: float


def import_feedback(
    engine: Engine,
    files: Sequence[str],
    *,
    format: str = "auto",
    source: str = "production",
    scale: str | None = None,
    strict: bool = False,
    rejects: Path | None = None,
    clean: Cleaner | None = None,
    track: Track = untracked,
) -> FeedReport:
    """Import feedback files (JSON lines, CSV or Parquet); see docs/feedback.md for their fields.

    Feedback by trace may come before its record; feedback by record id may not.

    Args:
        engine: the store.
        files: names, folders, patterns, `-` for stdin.
        format: one of `csv_rows.FORMATS`.
        source: name of the application, where a row does not give one.
        scale: `WORST:BEST` of scores and ratings, such as `1:5`; 0:1 for scores when None.
        strict: stop at the first row that cannot be used.
        rejects: folder for the rows that cannot be used; None only counts them.
        clean: takes personal data out of the events before they are stored (see `pii.replace.cleaner`).
        track: progress, over the rows of each file.

    Raises:
        InputError: a file is missing, empty or of no known format; with `strict`, a row is bad.
        ConfigurationError: source, scale, format or rejects folder cannot be used.
    """
    check_source(source)
    return import_feed(
        engine,
        files,
        what="feedback events",
        format=format,
        parse=partial(parse, source=source, scale=read_scale(scale) if scale else None, clean=clean),
        save=_save,
        strict=strict,
        rejects=rejects,
        clean=clean,
        track=track,
    )


def read_scale(text: str) -> Scale:
    """`WORST:BEST` as numbers.

    Raises:
        ConfigurationError: it is not two different numbers.
    """
    try:
        worst, best = (float(part) for part in text.split(":"))
    except ValueError:
        worst = best = 0.0
    if worst == best or not abs(best - worst) < float("inf"):
        raise ConfigurationError(f"--scale is WORST:BEST, such as 1:5; not {text[:40]!r}.")
    return Scale(worst, best)


def parse(row: dict[str, Any], source: str, scale: Scale | None = None, clean: Cleaner | None = None) -> Given:
    """One row.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    row = folded(row)
    given = {field: pick(row, names) for field, names in NAMES.items()}
    trace, record = text_of(given["trace"]), text_of(given["record"])
    if (trace is None) == (record is None):
        raise ValueError("name the trace (trace_id) or the record (record_id), one of them")
    told = {
        "value": _value(given, scale),
        "label": text_of(given["label"]),
        "comment": given["comment"],
        "correction": given["correction"],
        "by": text_of(given["by"]),
        "occurred_at": None if given["occurred_at"] is None else moment(given["occurred_at"], "occurred_at"),
        "simulated": given["simulated"] or False,
    }
    if told["value"] is None and not (told["comment"] or told["correction"] or told["label"]):
        raise ValueError("it says nothing: give thumbs, value, score, comment or correction")
    kind = _kind(given["kind"], told)
    made = {"kind": kind.value, **told, "occurred_at": str(told["occurred_at"])}
    identifier = text_of(given["identifier"]) or content_hash(made)
    if identifier in RESERVED:
        raise ValueError(f"the identifier {identifier} is kept for what the factory reads off sessions")
    event = Feedback.model_validate({"identifier": identifier, "kind": kind, **told})
    named = about(text_of(given["source"]) or source, trace) if trace else None
    return Given(named, record, clean.value(event) if clean else event)


def _kind(named: Any, told: dict[str, Any]) -> FeedbackKind:
    if named is not None:
        kind = KINDS.get(str(named).strip().lower())
        if kind is None:
            raise ValueError(f"kind is none of {', '.join(FeedbackKind)}")
        if kind is FeedbackKind.correction and not told["correction"]:
            raise ValueError("kind is correction, but no correction is given")
        return kind
    if told["correction"]:
        return FeedbackKind.correction
    return FeedbackKind.annotation if told["value"] is None else FeedbackKind.vote


def _value(given: dict[str, Any], scale: Scale | None) -> float | None:
    """-1 to 1, from the one of thumbs, value, score and rating that is given."""
    named = [name for name in ("thumbs", "value", "score", "rating") if given[name] is not None]
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} are given: leave one out, they may contradict each other")
    if not named:
        return None
    name, value = named[0], given[named[0]]
    if name == "thumbs":
        return thumb_of(value)
    number = _number(name, value)
    if name == "value":
        if not -1 <= number <= 1:
            raise ValueError("value is not between -1 and 1")
        return number
    if name == "rating" and scale is None:
        raise ValueError("what a rating runs from and to is not known: say so with --scale, such as --scale 1:5")
    worst, best = scale or Scale(0.0, 1.0)
    if not min(worst, best) <= number <= max(worst, best):
        raise ValueError(f"{name} is not between {worst:g} and {best:g} (see --scale)")
    return 2 * (number - worst) / (best - worst) - 1


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is not a number") from None
    return number


def _save(connection: Connection, rows: Sequence[tuple[Line, Given]]) -> Saved:
    known = _traces(connection, {given.record for _, given in rows if given.record})
    events: dict[Trace, list[Feedback]] = {}
    refused = []
    for line, given in rows:
        trace = given.trace or known.get(given.record or "")
        if trace is None:
            refused.append((line, f"there is no record {given.record}: import its log first, or name the trace"))
        else:
            events.setdefault(trace, []).append(given.event)
    before = _by_identifier(connection, events)
    save_feedback_in(connection, events)
    after = _by_identifier(connection, events)
    told = {(trace, event.identifier) for trace, some in events.items() for event in some}
    kept = told & after.keys()
    new = len(kept - before.keys())
    changed = sum(before[key] != after[key] for key in kept & before.keys())
    counts = SaveCounts(new=new, updated=changed, unchanged=len(kept) - new - changed, forgotten=len(told - kept))
    about_records = [record_id(*trace) for trace, _ in kept]
    stored = content_hashes(connection, sorted(set(about_records)))
    return Saved(counts, refused, waiting=sum(name not in stored for name in about_records))


def _traces(connection: Connection, records: set[str]) -> dict[str, Trace]:
    found = {}
    for some in chunks(sorted(records)):
        query = select(INTERACTION.c.id, INTERACTION.c.source, INTERACTION.c.source_id)
        for row in connection.execute(query.where(INTERACTION.c.id.in_(some))):
            found[row.id] = Trace(row.source, row.source_id)
    return found


def _by_identifier(connection: Connection, traces: dict[Trace, list[Feedback]]) -> dict[tuple[Trace, str], Feedback]:
    stored = feedback_of(connection, traces)
    return {(trace, event.identifier): event for trace, events in stored.items() for event in events}
