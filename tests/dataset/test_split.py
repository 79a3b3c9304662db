"""The split never leaks and nothing ever moves, whatever comes in whatever order."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from factory.dataset.split import Place, Placements, Row, place
from factory.mining.questions import jaccard, near_duplicates, words_of
from logs_schema.taxonomy import Split
from tests.dataset.world import examples

NEAR = 0.7
words = st.frozensets(st.sampled_from("abcdefghij"), min_size=1, max_size=6)
rows = st.lists(
    st.builds(
        Row,
        record_id=st.integers(0, 10**6).map(lambda number: f"{number:07}"),
        words=words,
        documents=st.frozensets(st.integers(0, 25).map(lambda number: f"doc:{number}"), max_size=2),
        audit=st.sampled_from([False] * 5 + [True]),
    ),
    max_size=16,
    unique_by=lambda row: row.record_id,
)


def _place(some: list[Row], placed: dict[str, Place], seed: int = 1) -> Placements:
    return place(some, placed, near_duplicate=NEAR, test_share=0.3, validation_share=0.2, seed=seed)


def _leaks(some: list[Row], result: Placements) -> list[tuple[str, str]]:
    found = []
    for one, other in combinations([row for row in some if row.record_id in result.places], 2):
        related = jaccard(one.words, other.words) >= NEAR or one.documents & other.documents
        sides = result.places[one.record_id].split, result.places[other.record_id].split
        if related and sides[0] is not sides[1]:
            found.append((one.record_id, other.record_id))
    return found


@given(rows, st.integers(0, 5))
@examples(60)
def test_relatives_are_never_apart_and_audit_rows_are_only_tested_on(some: list[Row], seed: int) -> None:
    result = _place(some, {}, seed)
    assert not _leaks(some, result)
    assert all(result.places[row.record_id].split is Split.test for row in some if row.audit)
    assert not result.quarantined
    assert set(result.places) == {row.record_id for row in some}


@given(rows, st.randoms())
@examples(60)
def test_the_order_of_rows_does_not_matter(some: list[Row], random: object) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert _place(some, {}) == _place(shuffled, {})


@given(rows, st.data())
@examples(100)
def test_rows_never_move_and_never_leak_over_several_builds(some: list[Row], data: st.DataObject) -> None:
    arrival = data.draw(st.permutations(some))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(some)), max_size=3)))
    placed: dict[str, Place] = {}
    for cut in [*cuts, len(some)]:
        present = arrival[:cut]
        result = _place(list(present), placed)
        assert not _leaks(list(present), result)
        for record_id, before in placed.items():
            assert result.places[record_id].split is before.split
        assert set(result.places) | result.quarantined == {row.record_id for row in present}
        assert not set(result.places) & result.quarantined
        again = _place(
            list(present), placed | {key: value for key, value in result.places.items() if key not in placed}
        )
        assert again == result
        placed |= {key: value for key, value in result.places.items() if key not in placed}


@given(rows)
@examples(60)
def test_rows_of_one_group_are_on_one_side_and_relatives_share_their_group(some: list[Row]) -> None:
    result = _place(some, {})
    sides: dict[str, set[Split]] = {}
    for chosen in result.places.values():
        sides.setdefault(chosen.group, set()).add(chosen.split)
    assert all(len(found) == 1 for found in sides.values())
    for one, other in combinations(some, 2):
        if jaccard(one.words, other.words) >= NEAR or one.documents & other.documents:
            assert result.places[one.record_id].group == result.places[other.record_id].group


@given(st.lists(words, max_size=20), st.floats(0.05, 1))
@examples(60)
def test_near_duplicates_are_found_exactly(some: list[frozenset[str]], at_least: float) -> None:
    found = near_duplicates(some, at_least)
    for one in set(some):
        expected = {other for other in set(some) if other != one and jaccard(one, other) >= at_least - 1e-9}
        assert set(found[one]) == expected
        assert len(found[one]) == len(expected)


def test_a_row_between_two_sides_is_quarantined() -> None:
    train = Row("1", frozenset("abc"), frozenset({"doc:1"}))
    test = Row("2", frozenset("def"), frozenset({"doc:2"}))
    placed = {"1": Place(Split.train, "g1"), "2": Place(Split.test, "g2")}
    bridge = Row("3", frozenset("ghi"), frozenset({"doc:1", "doc:2"}))
    follower = Row("4", frozenset("jkl"), frozenset({"doc:2"}))
    result = _place([train, test, bridge, follower], placed)
    assert result.quarantined == {"3"}
    assert result.places["4"] == Place(Split.test, "g2")


def test_an_audit_row_related_to_training_rows_is_quarantined() -> None:
    placed = {"1": Place(Split.train, "g1")}
    taught = Row("1", frozenset("abc"), frozenset({"doc:1"}))
    audit = Row("2", frozenset("xyz"), frozenset({"doc:1"}), audit=True)
    assert _place([taught, audit], placed).quarantined == {"2"}


def test_an_audit_row_takes_its_whole_group_to_the_test_side() -> None:
    chain = [Row(str(n), frozenset({f"w{n}"}), frozenset({f"doc:{n}", f"doc:{n + 1}"})) for n in range(6)]
    audit = Row("9", frozenset("xyz"), frozenset({"doc:6"}), audit=True)
    result = _place([*chain, audit], {})
    assert {chosen.split for chosen in result.places.values()} == {Split.test}


def test_shares_are_met_on_many_groups() -> None:
    many = [Row(f"{n:05}", frozenset({f"w{n}"}), frozenset()) for n in range(4000)]
    sides = [chosen.split for chosen in _place(many, {}).places.values()]
    assert abs(sides.count(Split.test) / 4000 - 0.3) < 0.03
    assert abs(sides.count(Split.validation) / 4000 - 0.2) < 0.03


def test_answerable_and_unanswerable_questions_are_held_out_alike() -> None:
    answers = [Row(f"a{n:04}", frozenset({f"w{n}"}), frozenset({f"doc:{n // 10}"}), n % 40 == 0) for n in range(600)]
    refusals = [Row(f"b{n:04}", frozenset({f"v{n}"}), frozenset(), n % 40 == 0) for n in range(600)]
    result = place([*answers, *refusals], {}, near_duplicate=NEAR, test_share=0.02, validation_share=0, seed=1)
    tested = [name for name, chosen in result.places.items() if chosen.split is Split.test]
    shares = [sum(name.startswith(kind) for name in tested) / 600 for kind in "ab"]
    # Fifteen audit rows bring 150 answerable ones along; refusals would bring only themselves.
    assert shares[0] == 0.25
    assert abs(shares[1] - 0.1375) < 0.03


def test_questions_without_words_are_taken_as_a_whole() -> None:
    assert words_of("???") == words_of(" ??? ")
    assert words_of("???") != words_of("!!")
    assert words_of("What does it COST?") == words_of("what does it cost")
