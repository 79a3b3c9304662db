"""From reviews in a real store to a dataset version."""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from factory.dataset.build import QUARANTINED, build
from factory.dataset.candidates import GOOD_AS_IS, NOT_USABLE, REPEATED
from factory.dataset.citations import cited, without_marks
from factory.dataset.folder import read_examples
from factory.dataset.report import BuildReport
from factory.guards import access, answer, conflict, freshness
from factory.mining.questions import jaccard, words_of
from logs_schema.errors import NotReadyError
from logs_schema.examples import TrainingExample
from logs_schema.records import Context, Feedback, FeedbackKind, Message, PromptTemplate, passage_hash
from logs_schema.store import load_records, save_feedback
from logs_schema.tables import DatasetRow, DatasetVersion, SplitPlacement
from logs_schema.taxonomy import TICKET, ExampleKind, Split
from tests.dataset.world import HOUSE, START, THINGS, World, abstains, asked, examples, ideal, passage, words_held


def _examples(report: BuildReport, *splits: Split) -> list[TrainingExample]:
    return [row for split in (splits or tuple(Split)) for row in read_examples(Path(report.path), split)]


def _bytes(report: BuildReport) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(report.path).iterdir() if file.name != "manifest.json"}


def _replies(count: int) -> list[tuple[str, str]]:
    return [(f"Say the number {n}.", f"It is {n}.") for n in range(count)]


@contextmanager
def _new_world(fresh: Callable[[], Engine]) -> Iterator[World]:
    with TemporaryDirectory() as folder:
        engine = fresh()
        yield World(engine, Path(folder) / "datasets")
        engine.dispose()


def test_a_reviewed_ticket_is_a_row_without_a_production_answer(world: World) -> None:
    world.fill(range(30), abstentions=12, audit=3)
    ticket = world.review(asked(900, 35, [35], response="", tags=(TICKET,)), "answer", ideal(35))
    (row,) = (row for row in _examples(world.build()) if row.record_id == ticket)
    assert row.production_response is None and ideal(35)[:-1] in row.completion


def test_rows_are_rendered_as_production_shows_them(world: World) -> None:
    world.fill(range(30), abstentions=12, audit=3)
    report = world.build()
    records = load_records(world.engine, [row.record_id for row in _examples(report) if row.record_id])
    for row in _examples(report, Split.validation, Split.test):
        assert row.record_id
        record = records[row.record_id]
        assert row.contexts == record.contexts
        assert record.prompt
        assert row.prompt == record.prompt.render(record.query, record.contexts, record.history)
        assert row.production_response == record.response
    for row in _examples(report, Split.train):
        assert row.record_id
        template = records[row.record_id].prompt
        assert template
        assert row.prompt == template.render(row.query, row.contexts)
        assert len(row.contexts) == 3


def test_a_record_without_a_logged_prompt_gets_the_houses(world: World) -> None:
    world.fill(range(20), abstentions=6, audit=2)
    earlier = (Message(role="user", content="Hello?"), Message(role="assistant", content="Hello."))
    record = asked(7000, 0, [0, 5], prompt=None, history=earlier)
    world.review(record, "answer", ideal(0), audit=True)
    row = next(row for row in _examples(world.build()) if row.record_id == record.record_id)
    assert [message.role for message in row.prompt] == ["system", "user", "assistant", "user"]
    assert row.prompt[0].content == HOUSE.system_prompt


def test_what_the_rows_hold(world: World) -> None:
    world.fill(range(30), abstentions=12, audit=3)
    report = world.build(general=_replies, general_share=0.1)
    rows = _examples(report)
    for row in rows:
        assert all(1 <= number <= len(row.contexts) for number in cited(row.completion))
        assert bool(row.evidence_ranks) == (row.kind is ExampleKind.answer)
        if row.kind is ExampleKind.answer:
            assert row.answerable is True
            assert words_held([(without_marks(row.completion), [each.text for each in row.contexts])])[0] >= 0.5
            assert set(cited(row.completion)) <= {rank + 1 for rank in row.evidence_ranks}
        elif row.kind is ExampleKind.general:
            assert (row.answerable, row.record_id, row.draft_source) == (None, None, None)
            assert [message.role for message in row.prompt] == ["user"]
            assert row.split is not Split.test
        else:
            assert row.answerable is False
            assert row.completion == HOUSE.abstention
        if row.audit:
            assert row.split is Split.test
            assert row.failure is None
    assert len({row.example_id for row in rows}) == len(rows)
    removed = [row for row in rows if row.kind is ExampleKind.evidence_removed]
    assert removed
    for row in removed:
        thing = next(name for name in THINGS if name in row.query)
        assert f"doc-{thing}" not in {context.doc_id for context in row.contexts}
        assert row.production_response is None
        assert row.split is Split.train


def test_taking_the_evidence_out_takes_its_copies_out_too(world: World) -> None:
    for thing in range(24):
        copy = Context(text=f"As everybody knows: {passage(thing).text}", doc_id=f"copy-{thing}")
        sibling = Context(text=f"The {THINGS[thing]} guild is old.", doc_id=f"doc-{THINGS[thing]}")
        others = (passage((thing + step) % 48) for step in (7, 11, 13))
        record = asked(thing, thing, [], contexts=(passage(thing), copy, sibling, *others))
        world.review(record, "answer", ideal(thing))
    world.fill(range(40, 44), abstentions=30, audit=2)
    rows = _examples(world.build(unanswerable_share=0.5, evidence_removed_share=0.4), Split.train)
    removed = [row for row in rows if row.kind is ExampleKind.evidence_removed]
    assert len(removed) > 3
    for row in removed:
        thing = next(at for at, name in enumerate(THINGS) if name in row.query)
        shown = {context.doc_id for context in row.contexts}
        assert not {f"copy-{thing}", f"doc-{THINGS[thing]}"} & shown


def test_evidence_is_not_always_the_passage_that_was_retrieved_at_its_rank(world: World) -> None:
    for thing in range(40):
        others = [(thing + step) % len(THINGS) for step in (7, 11, 13)]
        world.review(asked(thing, thing, [thing, *others]), "answer", ideal(thing))
    world.fill(range(40, 42), abstentions=6, audit=2)
    ranks = [row.evidence_ranks for row in _examples(world.build(), Split.train) if row.kind is ExampleKind.answer]
    first = sum(rank == (0,) for rank in ranks) / len(ranks)
    assert 0.6 < first < 0.98


def test_passages_are_not_cut_when_the_answer_would_lose_its_support(world: World) -> None:
    world.fill(range(10, 30), abstentions=8, audit=3)
    both = "The basket weighs 101 grams, the candle weighs 102 grams [2]."
    record = asked(7000, 1, [40, 1, 41, 42, 2])
    world.review(record, "answer", both)
    rows = [row for row in _examples(world.build(test_share=0.01)) if row.record_id == record.record_id]
    row = next(row for row in rows if row.kind is ExampleKind.answer)
    assert row.split is Split.train
    assert len(row.contexts) == 5
    assert words_held([(without_marks(row.completion), [each.text for each in row.contexts])])[0] >= 0.5


def test_the_number_of_passages_does_not_tell_which_rows_to_refuse(world: World) -> None:
    for thing in range(0, 40, 2):
        both = f"{ideal(thing)} {ideal(thing + 1)}" if thing % 4 else ideal(thing)
        shown = [thing, thing + 1, (thing + 9) % 48, (thing + 13) % 48]
        world.review(asked(thing, thing, shown), "answer", both)
    world.fill(range(40, 44), abstentions=60, audit=3)
    rows = _examples(world.build(test_share=0.05, unanswerable_share=0.5), Split.train)
    counts = {
        refuses: [len(row.contexts) for row in rows if (row.kind is not ExampleKind.answer) == refuses]
        for refuses in (True, False)
    }
    assert set(counts[True]) == set(counts[False]) == {3, 4}


def test_a_general_source_gives_its_share_and_none_gives_nothing(world: World) -> None:
    world.fill(range(40), abstentions=12, audit=3)
    report = world.build(general=_replies, general_share=0.1)
    train = report.counts["train"]
    assert abs(train["general"] / sum(train.values()) - 0.1) < 0.03
    without = world.build(general=None, general_share=0.1)
    assert "general" not in without.counts["train"]
    assert not without.general_available
    assert "groundmill[train]" in without.text()


def test_only_the_right_reviews_train(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    good = world.review(asked(7000, 40, [40, 41]), "good_as_is")
    unusable = world.review(asked(7001, 42, [42, 43]), "not_usable")
    approved = world.review(asked(7002, 44, [44, 45], response=ideal(44)), "good_as_is", audit=True)
    refused = world.review(asked(7003, 45, [46], response="I don't know that."), "good_as_is", audit=True)
    invented = world.review(asked(7004, 47, [46], response="It weighs 5 tons."), "good_as_is", audit=True)
    report = world.build()
    by_record = {row.record_id: row for row in _examples(report)}
    assert not {good, unusable, invented} & set(by_record)
    assert (by_record[approved].kind, by_record[approved].completion) == (
        ExampleKind.answer,
        f"The {THINGS[44]} weighs 144 grams [1].",
    )
    assert (by_record[refused].kind, by_record[refused].completion) == (ExampleKind.abstain, HOUSE.abstention)
    assert by_record[approved].split is by_record[refused].split is Split.test
    assert report.held_back[GOOD_AS_IS].example == good
    assert report.held_back[NOT_USABLE].example == unusable
    assert report.held_back[answer.NOT_GROUNDED].example == invented


def test_every_guard_holds_back_and_says_which_record(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    expected: dict[str, str] = {}
    record = asked(7000, 40, [40])
    expected[answer.NOT_GROUNDED] = world.review(record, "answer", "It is made of green cheese.")
    record = asked(7001, 41, [41])
    expected[answer.MIXED] = world.review(record, "answer", "I don't know, but it weighs 141 grams.")
    expected[answer.BAD_CITATION] = world.review(asked(7002, 42, [42]), "answer", ideal(42) + " [2]")
    expected[answer.EMPTY_ANSWER] = world.review(asked(7003, 43, [43]), "answer", "  ")
    expected[answer.NO_CONTEXTS] = world.review(asked(7004, 44, []), "abstain")
    unreadable = asked(7005, 45, [], contexts=(Context(text="", doc_id="x"),))
    expected[answer.EMPTY_CONTEXT] = world.review(unreadable, "answer", ideal(45))
    expected[freshness.OTHER_GUIDELINES] = world.review(
        asked(7006, 46, [46]), "answer", ideal(46), guidelines_version="0"
    )
    expected[freshness.CHANGED] = world.review(asked(7007, 47, [47]), "answer", ideal(47), record_hash="0" * 16)
    record = asked(7008, 39, [39])
    expected[conflict.DISAGREEMENT] = world.review(record, "answer", ideal(39))
    world.review(record, "abstain", reviewer="bob")
    old = world.review(asked(7009, 38, [38]), "answer", ideal(38))
    expected[freshness.STALE] = old
    newer = asked(7010, 30, [], contexts=(passage(38, version="2", days=9), passage(30)))
    world.review(newer, "answer", ideal(30))
    report = world.build()
    found = {reason: held.example for reason, held in report.held_back.items()}
    assert {reason: found.get(reason) for reason in expected} == expected
    assert not set(expected.values()) & {row.record_id for row in _examples(report)}
    assert all(record_id in report.text() for record_id in expected.values())


def test_contexts_that_not_everybody_may_read_are_kept_out(world: World) -> None:
    def opened(number: int, thing: int, *groups: str) -> str:
        context = passage(thing).model_copy(update={"groups": groups})
        return world.review(asked(number, thing, [], contexts=(context,)), "answer", ideal(thing))

    for thing in range(20):
        opened(thing, thing, "everyone")
    secret = opened(8000, 40, "board")
    open_context = (passage(41).model_copy(update={"groups": ("everyone",)}),)
    for number in range(6):
        world.review(
            asked(9000 + number, 41, [], contexts=open_context, query=f"Odd {number} thing {number}?"), "abstain"
        )
    audited = asked(9100, 41, [], contexts=open_context, query="Is it red?")
    world.review(audited, "abstain", audit=True)
    report = world.build(allowed_groups=("everyone",), test_share=0.3, evidence_removed_share=0.0)
    assert report.held_back[access.FORBIDDEN].example == secret
    assert "board" not in "".join(file.decode() for file in _bytes(report).values())


def test_late_feedback_changes_nothing(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    before = world.build()
    for number in range(10):
        thumb = Feedback(identifier="late", kind=FeedbackKind.vote, value=-1.0, occurred_at=START)
        save_feedback(world.engine, "test", f"trace-{number}", [thumb])
    after = world.build()
    assert (after.dataset_id, after.reused) == (before.dataset_id, True)


def test_contradicting_answers_are_held_back_and_repeated_rows_kept_once(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    first = world.review(asked(7000, 40, [40], query="How heavy, the item?"), "answer", ideal(40))
    second = world.review(asked(7001, 40, [40], query="how heavy the item"), "abstain")
    same = [
        world.review(asked(7100 + number, 42, [42], query="What does it weigh?"), "answer", ideal(42))
        for number in range(3)
    ]
    report = world.build()
    assert report.held_back[conflict.CONTRADICTION].records == 2
    assert report.held_back[REPEATED].records == 2
    assert not {first, second} & {row.record_id for row in _examples(report)}
    assert {row.record_id for row in _examples(report)} & set(same) == {min(same)}


def test_of_agreeing_reviews_the_newest_counts(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    record = asked(7000, 40, [40])
    world.review(record, "answer", ideal(40))
    world.review(record, "answer", "It weighs 140 grams.", reviewer="bob", reviewed_at=START + timedelta(days=40))
    rows = [row for row in _examples(world.build()) if row.record_id == record.record_id]
    row = next(row for row in rows if row.kind is ExampleKind.answer)
    assert without_marks(row.completion) == "It weighs 140 grams."
    assert row.review_id == f"{record.record_id[:12]}-bob"


def test_how_much_of_a_draft_was_kept_is_known(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    record = asked(7000, 40, [40])
    draft = ideal(40).replace("140", "99")
    world.review(record, "answer", ideal(40), draft=draft, draft_source="correction")
    row = next(row for row in _examples(world.build()) if row.record_id == record.record_id)
    assert row.draft_source == "correction"
    assert row.draft_similarity == pytest.approx(0.8)


@given(
    each=st.integers(1, 3),
    abstentions=st.integers(4, 40),
    share=st.floats(0.0, 0.6),
    removed=st.floats(0.0, 1.0),
    general=st.floats(0.0, 0.3),
    available=st.sampled_from([0, 2, 10_000]),
)
@examples(8)
def test_abstentions_never_exceed_their_share(
    fresh: Callable[[], Engine],
    each: int,
    abstentions: int,
    share: float,
    removed: float,
    general: float,
    available: int,
) -> None:
    with _new_world(fresh) as world:
        world.fill(range(24), each=each, abstentions=abstentions, audit=2)
        report = world.build(
            general=lambda count: _replies(min(count, available)),
            unanswerable_share=share,
            evidence_removed_share=removed,
            general_share=general,
        )
        train = report.counts["train"]
        total = sum(train.values())
        refusing = train.get("abstain", 0) + train.get("evidence_removed", 0)
        assert refusing <= share * total + 1e-9
        assert train.get("evidence_removed", 0) <= removed * refusing + 1e-9
        assert train.get("general", 0) <= general * total + 1


@given(st.randoms(use_true_random=False))
@examples(4)
def test_the_order_of_reviews_does_not_change_a_byte(fresh: Callable[[], Engine], order: random.Random) -> None:
    reviews = [(asked(n, n % 24, [(n + 7) % 48, n % 24, (n + 11) % 48]), "answer", ideal(n % 24)) for n in range(30)]
    reviews += [
        (asked(100 + n, n, [n + 9], query=f"Colour {n} of {THINGS[n]} {n}?"), "abstain", None) for n in range(20)
    ]
    built = []
    for shuffled in (reviews, order.sample(reviews, len(reviews))):
        with _new_world(fresh) as world:
            for record, decision, text in shuffled:
                world.review(record, decision, text)
            report = world.build(general=_replies, general_share=0.1, test_share=0.3)
            built.append((report.dataset_id, _bytes(report)))
    assert built[0] == built[1]


@given(st.data())
@examples(6)
def test_nothing_leaks_or_moves_over_several_builds(fresh: Callable[[], Engine], data: st.DataObject) -> None:
    with _new_world(fresh) as world:
        world.fill(range(40, 48), each=3, abstentions=24, audit=2)
        things = st.integers(0, 20)
        pieces = [
            (n, data.draw(things), data.draw(things), data.draw(st.sampled_from(["one", "two", "audit"])))
            for n in range(12)
        ]
        sides: dict[str, Split] = {}
        for start in (0, 4, 8):
            for n, one, other, kind in pieces[start : start + 4]:
                text = ideal(one) + (" " + ideal(other) if kind == "two" else "")
                record = asked(500 + n, one, [one, other, (one + 9) % 48], query=f"{THINGS[one]} and {THINGS[other]}?")
                world.review(record, "answer", text, audit=kind == "audit")
            report = world.build(test_share=0.3)
            rows = [row for row in _examples(report) if row.record_id]
            for one_row, other_row in combinations(rows, 2):
                if one_row.split is other_row.split:
                    continue
                assert jaccard(words_of(one_row.query), words_of(other_row.query)) < 0.7
                assert not _evidence(one_row) & _evidence(other_row)
            for row in rows:
                assert row.record_id
                assert sides.setdefault(row.record_id, row.split) is row.split


def _evidence(row: TrainingExample) -> set[str | None]:
    shown = [row.contexts[rank] for rank in row.evidence_ranks]
    return {context.doc_id for context in shown} | {passage_hash(context.text) for context in shown}


def test_a_row_between_placed_sides_is_quarantined_and_counted(world: World) -> None:
    world.fill(range(30), abstentions=12, audit=3)
    rows = [row for row in _examples(world.build()) if row.kind is ExampleKind.answer]
    things = [next(at for at, name in enumerate(THINGS) if name in row.query) for row in rows]
    train = next(thing for thing, row in zip(things, rows, strict=True) if row.split is Split.train)
    test = next(thing for thing, row in zip(things, rows, strict=True) if row.split is Split.test)
    record = asked(7000, 40, [train, test], query="Both of them together?")
    world.review(record, "answer", f"{ideal(train)} {ideal(test)}")
    report = world.build()
    assert report.held_back[QUARANTINED].example == record.record_id
    assert record.record_id not in {row.record_id for row in _examples(report)}


def test_audit_rows_take_their_relatives_to_the_test_side_even_while_they_are_held_back(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    audit = asked(7000, 40, [40, 41], query="Weight of this one, please?")
    world.review(audit, "answer", ideal(40), audit=True, guidelines_version="0")
    related = world.review(asked(7001, 40, [40, 42]), "answer", ideal(40))
    rows = {row.record_id: row for row in _examples(world.build())}
    assert audit.record_id not in rows
    assert rows[related].split is Split.test


def test_too_few_rows_are_refused_with_counts_and_the_next_command(world: World) -> None:
    with pytest.raises(NotReadyError, match="factory label push"):
        world.build()
    world.fill(range(4), audit=1)
    with pytest.raises(NotReadyError, match=r"min_rows asks for 50.*factory label pull"):
        world.build(min_rows=50)
    assert not list(world.folder.glob("*/manifest.json"))
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(SplitPlacement)) == 0


@pytest.mark.parametrize(("decision", "missing"), [("answer", "no unanswerable"), ("abstain", "no answerable")])
def test_a_one_sided_test_set_is_refused(world: World, decision: str, missing: str) -> None:
    for thing in range(30):
        world.review(asked(thing, thing, [thing, 40]), decision, ideal(thing) if decision == "answer" else None)
    with pytest.raises(NotReadyError, match=missing):
        world.build()


def test_a_second_build_is_refused_while_one_runs(world: World) -> None:
    world.fill(range(4))
    world.folder.mkdir()
    with FileLock(world.folder / ".build.lock"), pytest.raises(NotReadyError, match="Another"):
        world.build()


def test_a_killed_build_is_completed_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(range(20), abstentions=8, audit=3)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("factory.dataset.build.remember", killed)
        with pytest.raises(KeyboardInterrupt):
            world.build()
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(DatasetVersion)) == 0
    report = world.build()
    assert report.reused
    _expect_rows(world, report)
    again = world.build()
    assert (again.dataset_id, again.reused) == (report.dataset_id, True)
    _expect_rows(world, report)


def test_a_damaged_folder_is_written_again(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    report = world.build()
    original = _bytes(report)
    (Path(report.path) / "train.jsonl").write_text("{}\n")
    assert not world.build().reused
    assert _bytes(report) == original
    shutil.rmtree(report.path)
    world.build()
    assert _bytes(report) == original


def _expect_rows(world: World, report: BuildReport) -> None:
    with world.engine.connect() as connection:
        rows = connection.execute(select(DatasetRow.__table__)).all()  # type: ignore[attr-defined]
        versions = connection.execute(select(DatasetVersion.__table__)).all()  # type: ignore[attr-defined]
        placed = set(connection.scalars(select(SplitPlacement.interaction_id)))
    built = _examples(report)
    assert {(row.example_id, row.split, row.interaction_id, row.review_id) for row in rows} == {
        (row.example_id, row.split.value, row.record_id, row.review_id) for row in built
    }
    assert [version.id for version in versions] == [report.dataset_id]
    assert {row.record_id for row in built if row.record_id} <= placed


def test_the_report_is_json_and_text(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    report = world.build()
    assert json.loads(report.model_dump_json())["dataset_id"] == report.dataset_id
    assert "factory train" in report.text()
    assert "rows from the audit slice" in report.text()


def test_untrusted_text_stays_text(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    evil = "{contexts} ../../x \u2028 \x85 <script> {query} \x1b[2J"
    context = Context(text=f"{evil} basket weighs 777 grams", doc_id="../../etc/passwd")
    record = asked(7000, 40, [], contexts=(context,), query=evil, prompt=PromptTemplate())
    world.review(record, "answer", "The basket weighs 777 grams.", audit=True)
    report = world.build()
    row = next(row for row in _examples(report) if row.record_id == record.record_id)
    assert row.query == evil
    assert row.prompt[-1].content.count(evil) == 2
    assert sorted(file.name for file in Path(report.path).iterdir()) == [
        "README.md",
        "manifest.json",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    raw = (Path(report.path) / "test.jsonl").read_text(encoding="utf-8")
    assert len(raw.splitlines()) == raw.count("\n")


def test_the_scorer_decides_by_the_threshold_of_the_settings(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)

    def never(pairs: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
        return [0.2] * len(pairs)

    world.save()
    with pytest.raises(NotReadyError, match=answer.NOT_GROUNDED):
        build(world.engine, world.settings, HOUSE, folder=world.folder, groundedness=never, is_abstention=abstains)
