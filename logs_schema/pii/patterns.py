"""Personal data that has a form of its own: addresses, numbers with a check digit, telephone numbers.

Every expression is bounded on both sides, so that the time is linear in the length of the text.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple


class Found(NamedTuple):
    """One piece of personal data in a text."""

    start: int
    end: int
    entity: str
    value: str
    """Comparable form: the same for every way of writing it."""


CANDIDATE = re.compile(r"@|\d[\d ().\-/\u00a0]{4,}\d|[A-Za-z]{2}\d{2}[A-Za-z0-9 ]{10}|[0-9A-Fa-f]:[0-9A-Fa-f:]*:")
"""What a text must hold to be worth a closer look."""

_LOCAL_BACKWARDS = re.compile(r"[\w.+%'-]{1,64}")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})(?![\w-])", re.I)
_FILE_ENDINGS = {"css", "gif", "html", "jpeg", "jpg", "js", "json", "pdf", "png", "svg", "ts", "txt", "webp", "xml"}
"""Ends of `icon@2x.png`, which is a file."""

_CARD = re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
_CARD_BEGINNINGS = re.compile(r"4|5[1-5]|2[2-7]|3[0-9]|6")

_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}")
_IBAN_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
"""Length of an account number by country, from the SWIFT IBAN registry."""
_IBAN_LENGTH = {country: length for length, countries in _IBAN_LENGTHS.items() for country in countries.split()}

_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{0,3}:[0-9A-Fa-f:]{2,34}[0-9A-Fa-f:](?![\w:])")
_VERSION = re.compile(
    r"(?:\bv\.?|\b(?:versi\w*|release|build|firmware|driver|update|patch|chrome|firefox|safari)\W{0,3})$", re.I
)

_PHONE = re.compile(r"(?<!\w)(?:\+ ?|\( ?)?\d(?:[ ().\-/\u00a0]{0,3}\d){6,}+")
_MOST_DIGITS = 40
"""A longer run of numbers is a table."""
_CHECKED = 500
"""Numbers of one line that are looked up; in a line with more, the others count as telephones unseen."""
_PHONE_WORD = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|call|fax|whatsapp|sms|text me|telefon\w*|handy|mobil\w*|ruf\w*|anruf\w*|"
    r"t[ée]l[ée]phone|portable|appel\w*|tel[ée]fono|m[óo]vil|llam\w*|cellulare|chiam\w*|telefone|celular|lig[ua]\w*|"
    r"bel\w*)\b",
    re.I,
)
_PHONE_WORD_WITHIN = 40
_NO_PHONE_BEFORE = frozenset(("-", "/", "=", "#", "_", "&", "."))
"""What stands before a part of an address, a key or a part number."""
_DATE_OR_PERIOD = re.compile(
    r"(?:19|20)\d\d\W{0,3}(?:19|20)\d\d\Z|(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?\b|\d\d?\.\d\d?\.(?:19|20)\d\d\b"
)


def emails(text: str) -> Iterator[Found]:
    """E-mail addresses."""
    for at in (match.start() for match in re.finditer("@", text)):
        local = _LOCAL_BACKWARDS.match(text[max(0, at - 64) : at][::-1])
        domain = _DOMAIN.match(text, at + 1) if local else None
        name = local.group()[::-1].lstrip(".'-%") if local else ""
        if name and domain and domain.group(1).lower() not in _FILE_ENDINGS:
            start = at - len(name)
            yield Found(start, domain.end(), "EMAIL_ADDRESS", text[start : domain.end()].lower())


def cards(text: str) -> Iterator[Found]:
    """Payment card numbers: known beginning, right check digit (Luhn)."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if _CARD_BEGINNINGS.match(digits) and len(set(digits)) > 1 and _luhn(digits):
            yield Found(match.start(), match.end(), "CREDIT_CARD", digits)


def ibans(text: str) -> Iterator[Found]:
    """International bank account numbers: the country's length, right check digits (ISO 7064, modulo 97)."""
    at = 0
    while match := _IBAN.search(text, at):
        at = match.start() + 2
        length = _IBAN_LENGTH.get(match.group()[:2].upper(), 0)
        places = [place for place, character in enumerate(match.group()) if character != " "]
        if not 0 < length <= len(places):
            continue
        end = match.start() + places[length - 1] + 1
        value = text[match.start() : end].replace(" ", "").upper()
        number = "".join(str(int(character, 36)) for character in value[4:] + value[:4])
        if not text[end : end + 1].isalnum() and int(number) % 97 == 1:
            yield Found(match.start(), end, "IBAN_CODE", value)
            at = end


def addresses(text: str) -> Iterator[Found]:
    """Public IP addresses; private ones, networks and versions say nothing about a person."""
    for match in _IPV4.finditer(text):
        parts = match.group().split(".")
        if any((len(part) > 1 and part[0] == "0") or int(part) > 255 for part in parts) or parts[2:] == ["0", "0"]:
            continue
        if ipaddress.IPv4Address(match.group()).is_global and not _VERSION.search(text[: match.start()][-24:]):
            yield Found(match.start(), match.end(), "IP_ADDRESS", match.group())
    for match in _IPV6.finditer(text):
        try:
            address = ipaddress.IPv6Address(match.group())
        except ValueError:
            continue
        if address.is_global:
            yield Found(match.start(), match.end(), "IP_ADDRESS", address.compressed)


def phones(text: str, regions: Sequence[str]) -> Iterator[Found]:
    """Telephone numbers that are valid internationally (+…) or in one of the regions (`US`, `DE`, …).

    Ten digits in a row may be an order as well as a telephone: without a plus, a leading zero or
    separators they count only shortly after a word such as "phone".
    """
    checked = 0
    for candidate in _PHONE.finditer(text):
        before = text[max(0, candidate.start() - _PHONE_WORD_WITHIN) : candidate.start()]
        written = candidate.group()
        digits = re.sub(r"\D", "", written)
        told = bool(_PHONE_WORD.search(before))
        if len(digits) > _MOST_DIGITS or before[-1:] in _NO_PHONE_BEFORE or _DATE_OR_PERIOD.match(written):
            continue
        if written.isdigit() and written[0] != "0" and not told:
            continue
        checked += 1
        if checked > _CHECKED:
            yield Found(candidate.start(), candidate.end(), "PHONE_NUMBER", digits)
            continue
        for start, end, value in _valid_in_one_of(written, tuple(regions), sure=told or written[0] in "+("):
            yield Found(candidate.start() + start, candidate.start() + end, "PHONE_NUMBER", value)


@lru_cache(10_000)
def _valid_in_one_of(written: str, regions: tuple[str, ...], *, sure: bool) -> tuple[tuple[int, int, str], ...]:
    """(start, end, E.164 form) of the telephone numbers, in the first region where there are some."""
    import phonenumbers

    leniency = phonenumbers.Leniency.VALID if sure else phonenumbers.Leniency.STRICT_GROUPING
    for region in regions:
        found = [
            (each.start, each.end, phonenumbers.format_number(each.number, phonenumbers.PhoneNumberFormat.E164))
            for each in phonenumbers.PhoneNumberMatcher(written, region, leniency=leniency, max_tries=20)
        ]
        if found:
            return tuple(found)
    return ()


def _luhn(digits: str) -> bool:
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0
