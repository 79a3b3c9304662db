"""The words of the search box."""

from hypothesis import given
from hypothesis import strategies as st

from labeling.server.embedded.query import Term, parse


def test_terms_phrases_negation_and_alternatives() -> None:
    assert parse('free "within 30" -shipping') == [
        [Term("free", False), Term("within 30", False), Term("shipping", True)]
    ]
    assert parse("a | b c") == [[Term("a", False)], [Term("b", False), Term("c", False)]]
    assert parse("(ret*) +days") == [[Term("ret", False), Term("days", False)]]
    assert parse('  "" - |') == []


@given(st.text())
def test_any_text_is_read_without_error_and_no_term_is_blank(text: str) -> None:
    assert all(term.text.strip() for alternative in parse(text) for term in alternative)


@given(st.lists(st.from_regex(r"[a-zà-ÿ0-9]{1,8}", fullmatch=True), min_size=1))
def test_plain_words_are_all_wanted(words: list[str]) -> None:
    assert parse(" ".join(words)) == [[Term(word, False) for word in words]]
