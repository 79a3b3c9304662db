"""The order in which records are sent, and which draft goes along."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from labeling.push import correction_draft, mixed
from logs_schema.records import Feedback, RagRecord


def test_audits_are_spread_evenly() -> None:
    assert mixed([1, 2, 3, 4], ["a", "b"]) == [1, "a", 2, 3, "b", 4]
    assert mixed([], ["a"]) == ["a"]
    assert mixed([1], []) == [1]


@given(st.integers(0, 60), st.integers(0, 60))
def test_nothing_is_lost_order_is_kept_and_any_beginning_has_its_share(findings: int, audits: int) -> None:
    order = mixed([("f", n) for n in range(findings)], [("a", n) for n in range(audits)])
    assert [item for item in order if item[0] == "f"] == [("f", n) for n in range(findings)]
    assert [item for item in order if item[0] == "a"] == [("a", n) for n in range(audits)]
    for end in range(1, len(order) + 1):
        seen = sum(item[0] == "a" for item in order[:end])
        assert abs(seen - end * audits / len(order)) <= 1


def test_the_newest_correction_is_the_draft(make_record: Callable[..., RagRecord]) -> None:
    def correction(name: str, text: str, day: int) -> Feedback:
        return Feedback(identifier=name, kind="correction", correction=text, occurred_at=f"2026-03-0{day}T00:00:00Z")

    assert correction_draft(make_record(1)) is None
    record = make_record(1, feedback=(correction("a", "new ", 5), correction("b", "old", 4), correction("c", " ", 6)))
    assert correction_draft(record) == ("new", "correction")
