"""Citation marks: read, renumbered, added where a passage supports a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.dataset.citations import cited, renumbered, with_marks, without_marks
from factory.dataset.evidence import cite, documents, supports
from factory.mining.text import sentences
from logs_schema.records import Context, PromptTemplate
from tests.dataset.world import examples, passage, words_held

NUMBERED = PromptTemplate()


def _cite(answer: str, contexts: list[Context], template: PromptTemplate = NUMBERED) -> tuple[str, tuple[int, ...]]:
    return cite(answer, contexts, template, groundedness=words_held, at_least=0.5)


def test_marks_are_read_and_removed() -> None:
    text = "It is red [2]. It is big [1, 3][2]!"
    assert cited(text) == (2, 1, 3)
    assert without_marks(text) == "It is red. It is big!"
    assert cited("Built in [2017].") == ()


def test_marks_are_renumbered() -> None:
    assert renumbered("A [2]. B [1, 3].", {0: 4, 1: 0, 2: 1}) == "A [1]. B [2, 5]."
    assert renumbered("A [1-3].", {0: 2, 1: 1, 2: 0}) == "A [1, 2, 3]."
    with pytest.raises(KeyError):
        renumbered("A [4].", {0: 0})


def test_every_sentence_cites_the_passage_that_supports_it() -> None:
    shown = [passage(5), passage(1), passage(2)]
    completion, evidence = _cite("The basket weighs 101 grams. The candle weighs 102 grams! Ask again later?", shown)
    assert completion == "The basket weighs 101 grams [2]. The candle weighs 102 grams [3]! Ask again later?"
    assert evidence == (1, 2)


def test_a_curators_own_citations_are_kept() -> None:
    answer = "The basket weighs 101 grams [1]."
    assert _cite(answer, [passage(5), passage(1)]) == (answer, (0,))


def test_nothing_is_cited_when_the_prompt_shows_no_numbers() -> None:
    template = PromptTemplate(passage="{title}: {text}")
    assert _cite("The basket weighs 101 grams.", [passage(1)], template) == ("The basket weighs 101 grams.", (0,))


@pytest.mark.parametrize("answer", ["Yes.", "101", "No!"])
def test_a_short_answer_still_has_evidence(answer: str) -> None:
    _, evidence = _cite(answer, [passage(1), passage(2)])
    assert evidence


@given(st.text(max_size=80), st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4))
@examples(60)
def test_any_answer_gets_citations_in_range_only(answer: str, texts: list[str]) -> None:
    contexts = [Context(text=text) for text in texts]
    if any(not 1 <= number <= len(contexts) for number in cited(answer)):
        return
    completion, evidence = _cite(answer, contexts)
    assert all(1 <= number <= len(contexts) for number in cited(completion))
    assert evidence
    assert set(evidence) <= set(range(len(contexts)))


@given(st.text(alphabet="ab .!?\n\"'[]1,", max_size=60), st.data())
@examples(60)
def test_added_marks_change_nothing_else(text: str, data: st.DataObject) -> None:
    plain = without_marks(text)
    if cited(plain):
        return
    ranks = [data.draw(st.none() | st.integers(0, 8)) for _ in sentences(plain)]
    marked = with_marks(plain, ranks)
    assert list(cited(marked)) == list(dict.fromkeys(rank + 1 for rank in ranks if rank is not None))
    assert "".join(without_marks(marked).split()) == "".join(plain.split())


def test_passages_that_support_an_answer_are_found_one_by_one() -> None:
    answer = "The basket weighs 101 grams [1]. The candle weighs 102 grams [2]."
    texts = [passage(1).text, passage(2).text, passage(3).text]
    assert supports(answer, texts, groundedness=words_held, at_least=0.5) == (True, True, False)


def test_documents_are_known_by_id_and_by_text() -> None:
    shown = [passage(1), Context(text=passage(1).text), passage(2)]
    assert documents(shown, [0]) & documents(shown, [1])
    assert not documents(shown, [0]) & documents(shown, [2])
