"""Numbers as they are written, in digits or in English words: those of the same value get the same form."""

import re
from decimal import Decimal

_DIGITS = "one two three four five six seven eight nine"
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_RANKS = (
    "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth"
    " seventeenth eighteenth nineteenth"
)
_HIGHER_RANKS = "twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth"
_SCALES = "thousand million billion trillion"

SCALES = {"hundred": 100} | {word: 1000**n for n, word in enumerate(_SCALES.split(), 1)}
"""Words that multiply the number before them."""
NUMBER_WORDS = (
    {"zero": 0}
    | {word: n for n, word in enumerate(f"{_DIGITS} {_TEENS}".split(), 1)}
    | {word: n for n, word in enumerate(_RANKS.split(), 3)}
    | {word: 10 * n for words in (_TENS, _HIGHER_RANKS) for n, word in enumerate(words.split(), 2)}
)
"""Number words → their value. "First" and "second" are none: they mostly mean something else."""


def _any(words: str) -> str:
    return f"(?:{'|'.join(words.split())})"


_GAP = r"(?:[^\S\n]{1,3}|[^\S\n]?[-‐‑–][^\S\n]?)"
GAP = re.compile(_GAP)
"""What stands between the words of a numeral, and between a number and what it counts."""
_AND = rf"{_GAP}(?:and{_GAP})?"
_BELOW_TEN = _any(f"{_DIGITS} first {_RANKS}")
_BELOW_HUNDRED = rf"(?:{_any(_TENS)}(?:{_GAP}{_BELOW_TEN})?|{_any(f'{_DIGITS} {_TEENS}')})\b"
_BELOW_THOUSAND = (
    rf"(?:(?:a|{_BELOW_HUNDRED}){_GAP}hundred\b(?:{_AND}{_BELOW_HUNDRED}(?!{_GAP}hundred))?|{_BELOW_HUNDRED})"
)
NUMERAL = re.compile(
    rf"\b(?=[aefnost])(?<!half\s)(?:(?:a|{_BELOW_THOUSAND}){_GAP}"
    rf"(?:thousand|(?:million|billion|trillion)\b(?:{_AND}{_BELOW_THOUSAND}{_GAP}thousand)?)\b"
    rf"(?:{_AND}{_BELOW_THOUSAND}(?!{_GAP}{_any(' '.join(SCALES))}))?|{_BELOW_THOUSAND})",
    re.IGNORECASE,
)
"""A number in words; "between one hundred and five hundred" holds two. All begin with one of seven letters."""

_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen"}
_UNITS = _CURRENCIES | {"%": "percent", "per": "percent"}
_SIGN = f"[{''.join(_CURRENCIES)}]"
_HARD_SPACE = "[\u00a0\u2009\u202f]"
_SPACE = f"(?: |{_HARD_SPACE})"
FIGURE = (
    rf"(?:{_SIGN}\s?\d{{1,3}}(?:{_SPACE}\d{{3}})+(?!\d)|\d{{1,3}}(?:{_HARD_SPACE}\d{{3}})+(?!\d)"
    rf"|(?:{_SIGN}\s?)?\d+(?:[.,]\d+)*)"
    rf"(?:(?:st|nd|rd|th)\b|(?:[\s-](?i:{'|'.join(SCALES)})\b)?(?:\s?(?:%|(?i:per\s?cent)\b|€(?!\s?\d)))?)"
)
"""Regular expression of a number in digits, with its currency sign, per cent sign or "million"."""


def figure(raw: str) -> tuple[str, ...]:
    """What a `FIGURE` says: the number, then the unit. "$1.5 million" gives `1500000` and `dollar`."""
    raw = raw.lower()
    scale = next((size for word, size in SCALES.items() if word in raw), 1)
    digits = re.sub(r"[^\d.,]", "", raw)
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits):
        digits = digits.replace(",", "")
    if re.fullmatch(r"\d{1,15}(?:\.\d{1,9})?", digits) and (scale > 1 or digits.endswith(".00")):
        digits = f"{(Decimal(digits) * scale).normalize():f}"
    unit = next((name for sign, name in _UNITS.items() if sign in raw), None)
    return (digits, unit) if unit else (digits,)


def in_digits(raw: str) -> str:
    """A `NUMERAL` in digits: "two hundred and five" gives `205`."""
    total = part = 0
    for word in re.findall(r"[a-z]+", raw.lower()):
        if word == "hundred":
            part = 100 * (part or 1)
        elif word in SCALES:
            total, part = total + SCALES[word] * (part or 1), 0
        else:
            part += NUMBER_WORDS.get(word, word == "first")
    return str(total + part)
