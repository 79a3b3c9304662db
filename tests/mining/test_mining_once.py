"""What is read off a record is read once, however many ask for it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from factory.mining import case, claims, corpus, lexical
from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from factory.mining.text import tokens
from logs_schema.records import Context
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records

SENTENCES = (
    "The City plan costs 90 euros a month [1].",
    "It includes a free helmet from Denmark [2].",
    "Riders over seventy get a discount.",
)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[Any]]:
    """Counts the calls of a function by what is made of their arguments."""

    def count(module: Any, name: str, key: Callable[..., Any]) -> Counter[Any]:
        calls: Counter[Any] = Counter()
        real = getattr(module, name)

        def counting(*given: Any) -> Any:
            calls[key(*given)] += 1
            return real(*given)

        monkeypatch.setattr(module, name, counting)
        return calls

    return count


def test_every_sentence_is_compared_and_scored_once(engine: Engine, make: Any, counted: Any) -> None:
    lexical.read.cache_clear()
    compared = counted(claims, "_claim", lambda text, place, *_: text[place.start : place.end].strip())
    scored = counted(case, "claimed", lambda claim: claim.sentence)
    save_records(engine, [make(1, response=" ".join(SENTENCES))])
    mine(engine, MiningSettings(), HouseSettings())
    assert len(compared) == len(scored) == len(SENTENCES)
    assert set(compared.values()) == set(scored.values()) == {1}


def test_the_texts_of_a_search_are_read_together(engine: Engine, make: Any, counted: Any) -> None:
    read = counted(corpus, "passage_texts", lambda _, keys: None)
    shown = (Context(text=f"Bikes of kind {n} stand in hall {n}.", doc_id=f"hall-{n}") for n in range(4))
    asked = [make(n, query="who won the great bikes race of 1999", contexts=(one,)) for n, one in enumerate(shown)]
    save_records(engine, asked)
    mine(engine, MiningSettings(), HouseSettings())
    assert read[None] == len(asked), "three other passages share a word with each question"


@given(st.lists(st.sampled_from(("plain", "Words", "a", "2,000", "it's", "U.S.", "é", "end.", "and,")), max_size=12))
def test_runs_of_plain_words_are_read_as_single_words_are(words: list[str]) -> None:
    alone = [(token.norm, word[token.start : token.end]) for word in words for token in tokens(word)]
    text = " ".join(words)
    assert [(token.norm, text[token.start : token.end]) for token in tokens(text)] == alone
