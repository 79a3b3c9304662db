"""Responses in JSON: what they state, and what only wraps it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from factory.mining.claims import claims
from factory.mining.envelope import values_only

PASSAGES = [("Children under 12 are free. Adults pay 9 euros.", "")]


def test_only_values_are_judged_and_no_sources() -> None:
    response = '{"answer": "Children under 12 are free.", "source": 2, "pages": [3, 4], "price": 9}'
    kept = values_only(response)
    assert len(kept) == len(response) and "Children under 12 are free." in kept and "9" in kept
    assert not {"answer", "source", "pages", "price", "2,", "3", "4"} & set(kept.replace('"', " ").split())
    (claim, *_) = claims(response, PASSAGES)
    assert claim.missing == () and claim.measures.coverage == 1


def test_what_is_no_json_stays() -> None:
    for text in ("It says: {this} and [1].", '{"answer": "cut', "", "{" * 5000 + "}" * 5000):
        assert values_only(text) == text


def test_a_fenced_response_and_escaped_quotes() -> None:
    response = '```json\n{"answer": "The \\"Cargo\\": plan is free."}\n```'
    kept = values_only(response)
    assert "json" not in kept and 'The \\"Cargo\\": plan is free.' in kept and "answer" not in kept


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers() | st.none(), max_size=4))
def test_offsets_never_move(value: dict[str, str | int | None]) -> None:
    response = json.dumps(value)
    kept = values_only(response)
    assert len(kept) == len(response)
    assert all(new in {old, " "} for new, old in zip(kept, response, strict=True))
