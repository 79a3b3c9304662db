"""Fitting rows to the length budget: nothing lost in silence, no answer cut."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logs_schema.examples import TrainingExample
from logs_schema.records import Context, Message, PromptTemplate, content_hash
from logs_schema.taxonomy import ExampleKind, Split
from training.fitting import completion_text, fit


class WordTokenizer:
    """A token a word, and a chat template of the usual kind."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        turns = "".join(f"<{m['role']}> {m['content']} <end> \n" for m in messages)
        return turns + ("<assistant> " if add_generation_prompt else "")

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, Any]:
        ids = []
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
            ids.append(self.words.index(word))
        return {"input_ids": ids}

    def text(self, ids: tuple[int, ...]) -> str:
        return " ".join(self.words[at] for at in ids)


def row(passages: list[str], evidence: int | None, answer: str) -> TrainingExample:
    contexts = tuple(Context(text=text) for text in passages)
    return TrainingExample(
        example_id=content_hash([passages, evidence, answer]),
        kind=ExampleKind.answer if evidence is not None else ExampleKind.abstain,
        split=Split.train,
        prompt=PromptTemplate(system="Answer and cite.").render("What is it?", contexts),
        completion=answer,
        query="What is it?",
        contexts=contexts,
        evidence_ranks=() if evidence is None else (evidence,),
        answerable=evidence is not None,
        group="g",
    )


FILLER = "Nothing of note stands here today. Other things were said before. More of it follows after that."
EVIDENCE = "The weather was fine that day. The tower measures ninety metres. It rained a week later."


def test_what_fits_stays_as_it_is():
    tokenizer = WordTokenizer()
    found = fit(tokenizer, [row([FILLER, EVIDENCE], 1, "ninety metres [2]")], 500)
    assert found.shortened == 0 and not found.refused
    assert EVIDENCE in tokenizer.text(found.rows[0].prompt_ids)


def test_distractors_shrink_first_then_the_evidence_around_the_answer():
    tokenizer = WordTokenizer()
    example = row([FILLER, EVIDENCE, FILLER.replace("today", "now")], 1, "The tower measures ninety metres [2]")
    whole = fit(tokenizer, [example], 500).rows[0]
    length = len(whole.prompt_ids) + len(whole.completion_ids)
    slightly = tokenizer.text(fit(tokenizer, [example], length - 3).rows[0].prompt_ids)
    assert EVIDENCE in slightly and "[3] Nothing of note stands here now." in slightly
    tight = fit(tokenizer, [example], length - 42)
    text = tokenizer.text(tight.rows[0].prompt_ids)
    assert "The tower measures ninety metres." in text and "[1]" in text and "[2]" in text and "[3]" in text
    assert "It rained" not in text
    assert tight.shortened == 1
    assert tokenizer.text(tight.rows[0].completion_ids) == "The tower measures ninety metres [2] <end>"


def test_a_row_that_cannot_fit_is_refused_by_name():
    example = row([EVIDENCE], 0, "word " * 100)
    found = fit(WordTokenizer(), [example], 64)
    assert found.refused == (example.example_id,) and not found.rows


def test_a_text_that_stands_elsewhere_in_the_prompt_is_left_alone():
    twin = row([FILLER, FILLER], None, "I don't know.")
    assert fit(WordTokenizer(), [twin], 64).rows or fit(WordTokenizer(), [twin], 64).refused == (twin.example_id,)
    text = WordTokenizer()
    for fitted in fit(text, [twin], 64).rows:
        assert text.text(fitted.prompt_ids).count("Nothing of note") == 2


def test_the_answer_ends_its_turn():
    assert completion_text(WordTokenizer(), (Message(role="user", content="Hi?"),), "Hello.") == "Hello. <end>"


WORD = st.sampled_from(["tower", "metres", "ninety", "rain", "week", "river", "stone"])
SENTENCE = st.lists(WORD, min_size=3, max_size=8).map(lambda words: " ".join(words).capitalize() + ".")
PASSAGE = st.lists(SENTENCE, min_size=1, max_size=5).map(" ".join)


@given(st.lists(PASSAGE, min_size=1, max_size=4), st.data(), st.integers(64, 160))
def test_no_row_is_lost_and_no_answer_is_cut(passages: list[str], data: st.DataObject, budget: int):
    evidence = data.draw(st.one_of(st.none(), st.integers(0, len(passages) - 1)))
    tokenizer = WordTokenizer()
    examples = [row(passages, evidence, "ninety metres [1]"), row(passages, evidence, "a " * 30 + "[1]")]
    found = fit(tokenizer, examples, budget)
    assert {each.example_id for each in found.rows} | set(found.refused) == {each.example_id for each in examples}
    for fitted in found.rows:
        example = next(each for each in examples if each.example_id == fitted.example_id)
        assert len(fitted.prompt_ids) + len(fitted.completion_ids) <= budget
        assert tokenizer.text(fitted.completion_ids) == " ".join(f"{example.completion} <end>".split())
        prompt = tokenizer.text(fitted.prompt_ids)
        assert all(f"[{n}]" in prompt for n in range(1, len(passages) + 1))
        assert prompt.endswith("Question: What is it? <end> <assistant>")
        if evidence is not None and passages.count(passages[evidence]) == 1:
            sentences = passages[evidence].split(". ")
            telling = [each for each in sentences if {"ninety", "metres"} & set(each.lower().strip(".").split())]
            kept = telling if telling and "ninety" in example.completion else sentences
            assert all(sentence.rstrip(".") in prompt for sentence in kept)
