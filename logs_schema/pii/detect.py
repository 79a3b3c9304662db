"""Finding personal data in a text: by pattern, and with Presidio and a named-entity model where they are configured."""

import importlib.util
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from logs_schema.errors import ConfigurationError
from logs_schema.pii.patterns import CANDIDATE, Found, addresses, cards, emails, ibans, phones
from logs_schema.settings import PiiSettings

Finder = Callable[[str], Iterable[Found]]

REGIONS = {
    "bg": "BG", "cs": "CZ", "da": "DK", "de": "DE AT CH", "el": "GR CY", "en": "US GB", "es": "ES MX", "et": "EE",
    "fi": "FI", "fr": "FR BE CH", "he": "IL", "hr": "HR", "hu": "HU", "it": "IT CH", "ja": "JP", "ko": "KR",
    "lt": "LT", "lv": "LV", "nl": "NL BE", "no": "NO", "pl": "PL", "pt": "PT BR", "ro": "RO", "sk": "SK", "sl": "SI",
    "sv": "SE", "tr": "TR", "uk": "UA", "zh": "CN",
}  # fmt: skip
"""Where a telephone number in a language is first looked up."""
NAMED = ("PERSON", "LOCATION", "ORGANIZATION", "NRP")
"""Entities that have no form of their own: a model must know them."""
MIN_SCORE = 0.4
"""Presidio's score for a pattern that is specific without words around it."""
CACHED = 50_000
"""Lines whose findings are remembered: passages and prompts come again and again."""
LONG = 200
"""Characters from which a text is likely to be a passage, which comes again as a whole …"""
CACHED_LONG = 20_000
"""… so that the findings of so many are remembered."""
HIDDEN = "\ufffc"
"""Stands for what was found already, so that nothing else is found in it or across it."""
PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*_[a-z]{8}>")


class Detector:
    """Finds the configured entities, a line at a time.

    What is found in a line depends on that line alone. So a passage gives the same within a prompt,
    in a later file, and on its own.
    """

    def __init__(self, settings: PiiSettings) -> None:
        """Raises ConfigurationError: an entity, a language or a model is not to be had here."""
        regions = settings.regions or tuple(_regions(settings.languages))
        own: dict[str, Finder] = {
            "EMAIL_ADDRESS": emails,
            "IBAN_CODE": ibans,
            "CREDIT_CARD": cards,
            "IP_ADDRESS": addresses,
            "PHONE_NUMBER": lambda text: phones(text, regions),
        }
        unknown = [name for name in settings.entities if name not in own]
        self._allowed = {value.casefold() for value in settings.allow}
        self._by_form = [finder for name, finder in own.items() if name in settings.entities]
        self._by_library = _presidio(unknown, settings) if unknown else []
        self._line = lru_cache(CACHED)(self._in_line)
        self._long_text = lru_cache(CACHED_LONG)(self._in_text)

    def find(self, text: str) -> Sequence[Found]:
        """What is found in a text, in order, without overlaps."""
        return self._in_text(text) if len(text) < LONG else self._long_text(text)

    def _in_text(self, text: str) -> tuple[Found, ...]:
        if not self._by_library and not CANDIDATE.search(text):
            return ()
        found, start = [], 0
        for line in text.splitlines(keepends=True):
            found += [each._replace(start=each.start + start, end=each.end + start) for each in self._line(line)]
            start += len(line)
        return tuple(found)

    def _in_line(self, line: str) -> tuple[Found, ...]:
        rest = PLACEHOLDER.sub(lambda match: HIDDEN * len(match.group()), line)
        chosen: list[Found] = []
        for finder in [*(self._by_form if CANDIDATE.search(line) else ()), *self._by_library]:
            parts, at = [], 0
            for found in sorted(finder(rest)):
                if at <= found.start and HIDDEN not in rest[found.start : found.end]:
                    parts += [rest[at : found.start], HIDDEN * (found.end - found.start)]
                    at = found.end
                    chosen += [] if self._keeps(found, line) else [found]
            rest = "".join([*parts, rest[at:]])
        return tuple(sorted(chosen))

    def _keeps(self, found: Found, line: str) -> bool:
        written = line[found.start : found.end].casefold()
        domain = "@" + written.rpartition("@")[2] if "@" in written else None
        return bool({written, found.value.casefold(), domain} & self._allowed)


def versions(settings: PiiSettings) -> dict[str, str]:
    """Versions of what finds personal data beside this module, as far as they are installed packages."""
    found = {}
    for name in ("phonenumbers", "presidio-analyzer", "spacy", *sorted(settings.models.values())):
        with suppress(metadata.PackageNotFoundError, ValueError):
            found[name] = metadata.version(name)
    return found


def _regions(languages: Sequence[str]) -> Iterator[str]:
    for language in languages:
        if language not in REGIONS:
            raise ConfigurationError(
                f"[pii] languages: no country is known for {language!r}; name the countries in [pii] regions, "
                f"or use {', '.join(REGIONS)}."
            )
        yield from REGIONS[language].split()


def _presidio(entities: Sequence[str], settings: PiiSettings) -> list[Finder]:
    if importlib.util.find_spec("presidio_analyzer") is None:
        raise ConfigurationError(
            f"[pii] entities {', '.join(entities)} need Presidio: run pip install 'groundmill[pii]', or leave them out."
        )
    named = [name for name in entities if name in NAMED]
    if named and not settings.models:
        raise ConfigurationError(
            f"[pii] entities {', '.join(named)} need a named-entity model: name an installed one in [pii] models, "
            'such as { en = "en_core_web_sm" }.'
        )
    finders = [_pattern_finder(name, settings.languages) for name in entities if name not in NAMED]
    return [*finders, *(_model_finder(language, name, named) for language, name in settings.models.items() if named)]


def _pattern_finder(entity: str, languages: Sequence[str]) -> Finder:
    """Presidio's own recognizers of an entity; they are patterns, and never ask the network."""
    from presidio_analyzer import PatternRecognizer, predefined_recognizers

    kinds = [
        kind
        for kind in vars(predefined_recognizers).values()
        if isinstance(kind, type)
        and issubclass(kind, PatternRecognizer)
        and not kind.__name__.startswith(("Email", "Url"))
    ]
    made = [kind() for kind in kinds]
    fitting = [one for one in made if entity in one.supported_entities]
    if not fitting:
        known = sorted({name for one in made for name in one.supported_entities})
        raise ConfigurationError(f"[pii] entities: {entity} is not known; Presidio knows {', '.join(known)}.")

    def find(line: str) -> Iterator[Found]:
        for one in fitting:
            yield from _found(one.analyze(line, [entity], None), line)

    return find


def _model_finder(language: str, name: str, entities: Sequence[str]) -> Finder:
    import spacy
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    if not spacy.util.is_package(name) and not (Path(name) / "meta.json").is_file():  # Presidio would download it
        raise ConfigurationError(f"[pii] models: {name} is neither an installed spaCy package nor a model's folder.")
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it warns of every label that it does not map
    engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": name}])
    engine.load()
    recognizer = SpacyRecognizer(supported_language=language)

    def find(line: str) -> list[Found]:
        return _found(recognizer.analyze(line, list(entities), engine.process_text(line, language)), line)

    return find


def _found(results: Sequence[Any], line: str) -> list[Found]:
    return [
        Found(one.start, one.end, one.entity_type, " ".join(line[one.start : one.end].casefold().split()))
        for one in sorted(results, key=lambda one: (-one.score, one.start - one.end))
        if one.score >= MIN_SCORE and line[one.start : one.end].strip()
    ]
