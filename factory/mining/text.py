"""Words, numbers and sentences of a text, with their places in the original.

Logs hold detokenised and tokenised text side by side ("Atlantic City , NJ", "air - to - air",
"does n't"): both give the same words here, so that they can be compared.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from factory.mining.numerals import FIGURE, GAP, NUMBER_WORDS, NUMERAL, SCALES, figure, in_digits
from factory.mining.words import ABBREVIATIONS, GENERIC, STOP_WORDS
from factory.mining.words import NEGATIONS as NEGATIONS

_QUOTES = str.maketrans(dict.fromkeys("‘’‚‛´`′", "'") | dict.fromkeys("“”„‟″", '"'))
_NO_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han are written without spaces: each character is a word of its own."""
_LETTER = rf"[^\W\d_{_NO_SPACES}]"
_MARK = "[\u0300-\u036f]"
_TOKEN = re.compile(
    rf"(?P<plain>[A-Za-z]+(?: [A-Za-z]+)*(?=[ ,](?!['’‘´`])))"
    rf"|(?P<number>{FIGURE})"
    rf"|(?P<short>(?<!\w)(?:{_LETTER}\.){{2,}})"
    rf"|(?P<single>[{_NO_SPACES}])"
    rf"|(?P<word>{_LETTER}+(?:{_MARK}+{_LETTER}*)*(?:\s?['’‘´`]\s?(?:s|t|re|ve|ll|d|m)(?!\w))?)"
)
_SENTENCE_END = re.compile(
    r"(?<![.!?…])(?P<stop>[.!?…]++)(?P<close>[\"'’”»)\]]*+)(?=\s|$)|(?P<wide>[。！？]++[」』”]*+)|(?P<line>\n\s*+)"
)
_LIST_MARK = re.compile(r"\s*(?:(?:\d{1,2}[.)]|[-*•–]|#{1,6})\s+)*")
_NEAR = 50
"""Characters around a full stop that decide whether it ends a sentence."""
LATELY = 32
"""Texts whose words and sentences stay in memory: those of the record at hand are asked for again and again."""
_new = tuple.__new__
"""Makes a token twice as fast as its class does."""
_IRREGULAR = {"ca": "can", "wo": "will", "sha": "shall"}


class Token(NamedTuple):
    """One word or number of a text."""

    norm: str
    """Comparable form: NFC, lower case, English plural and verb endings cut; numbers in plain digits."""
    start: int
    end: int

    @property
    def is_number(self) -> bool:
        """True for figures, such as `1,000`, `4th` or `three`."""
        return self.norm[0].isdigit()

    @property
    def is_content(self) -> bool:
        """True unless it is a function word."""
        return self.norm not in STOP_WORDS

    @property
    def weight(self) -> float:
        """How much it says about the topic: 1, half for words that any question may hold, 0 for function words.

        A fixed table instead of corpus frequencies: the score of a record then depends on nothing but the
        record. It costs nothing measurable (see `docs/mining.md`).
        """
        return 0.0 if self.norm in STOP_WORDS else 0.5 if self.norm in _GENERIC else 1.0


class Sentence(NamedTuple):
    """A stretch of the original text; list marks such as `1.` are left out."""

    start: int
    end: int


def straight(text: str) -> str:
    """NFC with straight quotes."""
    return unicodedata.normalize("NFC", text).translate(_QUOTES)


def normalise(text: str) -> str:
    """Readable, comparable text: straight quotes, detokenised, single spaces.

    Example: "the `` Atlantic City , NJ '' air - to - air" gives 'the "Atlantic City, NJ" air-to-air'.
    """
    text = straight(text).replace("''", '"')
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([.,;:!?%)\]}])(?=[\s\"')\]}]|$)", r"\1", text)
    text = re.sub(r"([(\[{]) ", r"\1", text)
    text = re.sub(r"(\w) - (?=to |and |in |of |the |\w+ - |[a-z])", r"\1-", text)
    text = re.sub(r"-(to|and|in|of|the) - (?=\w)", r"-\1-", text)
    text = re.sub(r"(\w) (?=n't\b)", r"\1", text)
    text = re.sub(r"(\w) ?' ?(s|t|re|ve|ll|d|m)\b", r"\1'\2", text)
    text = re.sub(r'" ([^"]*?) "', r'"\1"', text)
    return text


@lru_cache(maxsize=LATELY)
def tokens(text: str) -> tuple[Token, ...]:
    """Words and numbers in order, with offsets into `text`.

    "doesn't" gives `do` and `not`, both over its span; "$5" and "5 dollars" give `5` and `dollar`; "twenty-five" and
    "25" give `25`.
    """
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        if match.lastgroup == "plain":
            for word in match.group().split(" "):
                end = start + len(word)
                found.append(_new(Token, (_norm(word), start, end)))
                start = end + 1
        else:
            found += [Token(norm, start, end) for norm in _norms(match.group(), match.lastgroup or "word")]
    return tuple(found if _COUNTING.isdisjoint([token.norm for token in found]) else _joined(text, found))


def numbers(text: str) -> list[Token]:
    """The figures of a text."""
    return [token for token in tokens(text) if token.is_number]


def content_words(text: str) -> list[Token]:
    """The words and figures of a text that carry meaning."""
    return [token for token in tokens(text) if token.is_content]


@lru_cache(maxsize=LATELY)
def sentences(text: str) -> tuple[Sentence, ...]:
    """Sentences and list items in order; stretches without a word or a figure are left out."""
    return tuple(_sentences(text))


def by_sentence(found: Sequence[Token], places: Sequence[Sentence]) -> list[Sequence[Token]]:
    """The tokens of each sentence, for tokens and sentences in order."""
    starts = [token.start for token in found]
    return [found[bisect_left(starts, place.start) : bisect_left(starts, place.end)] for place in places]


def _sentences(text: str) -> Iterator[Sentence]:
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if match.lastgroup in ("stop", "close") and not _ends(text, start, match):
            continue
        end = match.start() if match.group("line") is not None else match.end()
        yield from _trimmed(text, start, end)
        start = match.end()
    yield from _trimmed(text, start, len(text))


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether this stop ends a sentence: not after an abbreviation, an initial, or a list number."""
    if match.group("stop") != ".":
        return True
    before = text[max(start, match.start() - _NEAR) : match.start()]
    if before.endswith(" "):
        return True
    word = "".join(before.rsplit(None, 1)[-1:]).lower().lstrip("(\"'")
    rest = text[match.end() : match.end() + _NEAR].lstrip(" \t")
    if word in ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or (word.isdigit() and before.strip() == word):
        return False
    return rest[:1].isupper() or not (rest[:1].islower() or re.fullmatch(r"(?:\w\.)+\w", word))


def _trimmed(text: str, start: int, end: int) -> Iterator[Sentence]:
    mark = _LIST_MARK.match(text, start, end)
    start = mark.end() if mark else start
    stretch = text[start:end]
    stripped = stretch.strip()
    if any(character.isalnum() for character in stripped):
        start += len(stretch) - len(stretch.lstrip())
        yield Sentence(start, start + len(stripped))


@lru_cache(maxsize=100_000)
def _norm(word: str) -> str:
    return _norms(word, "word")[0]


@lru_cache(maxsize=100_000)
def _norms(raw: str, kind: str) -> tuple[str, ...]:
    if kind == "number":
        return figure(raw)
    word = straight(raw).casefold()
    if kind == "short":
        return (word.replace(".", ""),)
    base, apostrophe, ending = (part.strip() for part in word.partition("'"))
    if apostrophe and ending == "t" and base.endswith("n"):
        verb = base[:-1]
        return (_IRREGULAR.get(verb, verb), "not") if verb else ("not",)
    if base in NUMBER_WORDS and base != "one":
        return (str(NUMBER_WORDS[base]),)
    return (base if base in STOP_WORDS or not base.isascii() else _stem(base),)


def _joined(text: str, found: Sequence[Token]) -> Iterator[Token]:
    """The same with a numeral of several words as one token, and "one" as a figure where it counts something."""
    at = 0
    for numeral in NUMERAL.finditer(text):
        first = bisect_left(found, numeral.start(), at, key=_start)
        last = bisect_left(found, numeral.end(), first, key=_start)
        yield from found[at:first]
        if last - first > 1 or (last > first and found[first].norm == "one" and _counts(text, found, first)):
            yield Token(in_digits(numeral.group()), *numeral.span())
        else:
            yield from found[first:last]
        at = last
    yield from found[at:]


def _counts(text: str, found: Sequence[Token], at: int) -> bool:
    """Whether "one" stands right before what it counts ("one day"), not for a thing or a person ("no one knows")."""
    following = found[at + 1 : at + 2]
    pronoun = at > 0 and found[at - 1].norm in _POINTING
    return not pronoun and any(
        token.is_content and token.norm != "another" and GAP.fullmatch(text, found[at].end, token.start)
        for token in following
    )


def _stem(word: str) -> str:
    """Cut the commonest English endings; crude, but the same on both sides of a comparison."""
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    word = word.rstrip("e") if len(word) > 3 else word
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


_COUNTING = frozenset({"one", *(str(tens) for tens in range(20, 100, 10)), *map(_stem, SCALES)})
"""Comparable forms of words that a numeral of several words must hold, and "one"."""
_POINTING = frozenset(
    {"the", "this", "that", "these", "those", "which", "what", "no", "any", "every", "each", "some", "another"}
)
_start = attrgetter("start")
_GENERIC = frozenset(norm for word in GENERIC for norm in _norms(word, "word"))
"""In comparable form."""
