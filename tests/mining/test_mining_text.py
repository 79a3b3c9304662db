import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.mining.citations import citations, cited_sentences, without_citations
from factory.mining.diagnose import diagnose
from factory.mining.lexical import lexical_scorer
from factory.mining.settings import MiningSettings
from factory.mining.text import normalise, numbers, sentences, tokens
from logs_schema.records import Context, RagRecord
from logs_schema.settings import HouseSettings

MESSY = st.text(alphabet=st.sampled_from("aB é.!?\n\t[]12,;-'’“”«1) *#東。\u0301\u202e\x00"), max_size=200) | st.text(
    max_size=80
)


def norms(text: str) -> list[str]:
    return [token.norm for token in tokens(text)]


@pytest.mark.parametrize(
    ("tokenised", "written"),
    [
        ("Atlantic City , NJ", "Atlantic City, NJ"),
        ("air - to - air", "air-to-air"),
        ("it does n't matter", "it doesn’t matter"),
        ("it don ' t matter", "it don't matter"),
        ("the dog 's bowl", "the dog's bowl"),
        ("3 , 000 m", "3, 000 m"),
        ("$ 1,000", "$1000"),
        ("cafe\u0301", "caf\u00e9"),
        ("the U.S. army", "the US army"),
        ("45kg", "45 kg"),
        ("the 4th", "the 4"),
        ("cancelled plans", "cancel plan"),
    ],
)
def test_tokenised_and_written_text_give_the_same_words(tokenised: str, written: str) -> None:
    assert norms(tokenised) == norms(written)


def test_different_words_stay_different() -> None:
    assert norms("3.5") != norms("35") and norms("do") != norms("don't") and norms("bus") != norms("bu")
    assert norms("three") != norms("thirteen") and norms("five million") != norms("five billion")


@pytest.mark.parametrize(
    ("in_words", "in_digits"),
    [
        ("three bikes", "3 bikes"),
        ("Zero bikes, twelve riders", "0 bikes, 12 riders"),
        ("twenty-five and ninety nine", "25 and 99"),
        ("thirty - one", "31"),
        ("one hundred", "100"),
        ("a hundred and five days", "105 days"),
        ("one hundred twenty-five", "125"),
        ("two million three hundred thousand and five", "2,300,005"),
        ("the nineteenth century, the twenty-first", "the 19th century, the 21st"),
        ("the third fortieth", "the 3rd 40th"),
        ("within one day", "within 1 day"),
        ("between one hundred and five hundred", "between 100 and 500"),
        ("one thousand and five thousand", "1000 and 5000"),
        ("one hundred\nfive", "100\n5"),
    ],
)
def test_number_words_are_figures(in_words: str, in_digits: str) -> None:
    assert norms(in_words) == norms(in_digits)


@pytest.mark.parametrize(
    "text", ["no one knows", "one of them", "this one is", "the one plan", "one another", "one, day", "someone", "one"]
)
def test_one_is_no_figure_where_it_stands_for_something(text: str) -> None:
    assert numbers(text) == []


@pytest.mark.parametrize("text", ["half a million", "hundreds of bikes", "thousands", "on second thought", "at first"])
def test_words_near_numbers_are_no_figures(text: str) -> None:
    assert numbers(text) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$5", "5 dollars"),
        ("€ 72.50", "72.50 euros"),
        ("72 €", "72 euros"),
        ("$1.5 million", "1,500,000 dollars"),
        ("3 million bikes", "3,000,000 bikes"),
        ("five thousand", "5 thousand"),
        ("50%", "50 percent"),
        ("50 %", "50 per cent"),
        ("1\u00a0000\u202f000", "1000000"),
        ("$10 000", "$10,000"),
        ("20.00", "20"),
    ],
)
def test_figures_are_the_same_in_any_format(one: str, other: str) -> None:
    assert norms(one) == norms(other)


def test_figures_of_different_things_stay_apart() -> None:
    assert norms("in 2019 100 people") == ["in", "2019", "100", "peopl"]
    assert norms("version 2.10") != norms("version 2.1") and norms("$5") != norms("€5")
    assert norms("between 5 and 10 thousand")[-1] == "10000"


def test_numerals_keep_their_place() -> None:
    text = "It lasts twenty-five days, costs $1.5 million and has one wheel."
    assert [(t.norm, text[t.start : t.end]) for t in numbers(text)] == [
        ("25", "twenty-five"),
        ("1500000", "$1.5 million"),
        ("1", "one"),
    ]


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
DIGITS += [f"{word}teen" for word in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SIZES = {"": 1, "hundred": 100, "thousand": 1000, "million": 1_000_000}


@given(st.integers(1, 99), st.sampled_from(sorted(SIZES)))
def test_every_small_number_is_read(number: int, scale: str) -> None:
    tens, unit = divmod(number, 10)
    word = DIGITS[number] if number < 20 else f"{TENS[tens - 2]}-{DIGITS[unit]}" if unit else TENS[tens - 2]
    assert norms(f"{word} {scale}  bikes") == [str(number * SIZES[scale]), *norms("bikes")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith lives in the U.S. today. He is 40.", ["Dr. Smith lives in the U.S. today.", "He is 40."]),
        ("It costs 3.50 euros. Yes!", ["It costs 3.50 euros.", "Yes!"]),
        ("a tractor . A native son", ["a tractor .", "A native son"]),
        ("1. First\n2. Second\n- third", ["First", "Second", "third"]),
        ("“Is it?” he said. No.", ["“Is it?”", "he said.", "No."]),
        ("東京です。良い。", ["東京です。", "良い。"]),
        ("...", []),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[s.start : s.end] for s in sentences(text)] == expected


@given(MESSY)
def test_places_lie_in_the_original(text: str) -> None:
    for found in (tokens(text), sentences(text)):
        last = 0
        for place in found:
            assert 0 <= place.start < place.end <= len(text)
            assert place.start >= last or place.start == found[max(found.index(place) - 1, 0)].start
            last = place.end
    assert all(text[s.start : s.end].strip() == text[s.start : s.end] for s in sentences(text))


@given(MESSY)
def test_normalising_twice_changes_nothing_about_the_words(text: str) -> None:
    assert "  " not in normalise(text)
    assert normalise(text) == normalise(text).strip()


UNITS = [*".['“\n \u0301", "1,", "a.", " \n", "- ", "a' ", '" ', "a. ", "1. ", "[1]", "[1-50] a. ", "a1 "]
UNITS += ["one hundred and ", "$1 111 ", "a "]


@pytest.mark.parametrize("unit", UNITS)
def test_hostile_repetition_takes_linear_time(unit: str) -> None:
    text = unit * (12_000 // len(unit)) + "x"
    record = RagRecord(
        source="desk",
        source_id="1",
        occurred_at=datetime(2026, 11, 2, tzinfo=UTC),
        query=text,
        contexts=(Context(text=text, title=text),),
        response=text,
    )
    begin = time.process_time()
    normalise(text)
    scores = lexical_scorer(HouseSettings())([record])[0]
    diagnose(record, scores, settings=MiningSettings(), house=HouseSettings(), versions={})
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [1] b", [1]),
        ("[1, 2]", [1, 2]),
        ("[1-3] [4–5]", [1, 2, 3, 4, 5]),
        ("[1][2]", [1, 2]),
        ("【1】 【3†source】", [1, 3]),
        ("[1; 7]", [1, 7]),
        ("[ 2 ] [^3]", [2, 3]),
        ("[2017] [a] (1) []", []),
        ("[3-1]", [3, 1]),
        ("[1-999]", [1, 999]),
    ],
)
def test_citation_marks(text: str, expected: list[int]) -> None:
    assert [citation.number for citation in citations(text)] == expected


def test_a_mark_backs_the_words_before_it() -> None:
    text = "It costs 3 euros. [1] Bikes are blue [2].\n[3] Trains are green."
    backed = {c.number: place for c, place in cited_sentences(text)}
    assert {n: text[s.start : s.end] for n, s in backed.items() if s} == {
        1: "It costs 3 euros.",
        2: "Bikes are blue [2].",
        3: "Trains are green.",
    }
    assert [place for _, place in cited_sentences("[1]")] == [None]


@given(MESSY)
def test_taking_citations_out_keeps_every_offset(text: str) -> None:
    assert len(without_citations(text)) == len(text)
    assert citations(without_citations(text)) == []
