"""Measure how well personal data is found: recall and false positives per entity, on sentences written for it.

`python scripts/pii_quality.py` prints the table of docs/privacy.md; with --misses also what was missed and
what was taken for personal data.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from logs_schema.pii.detect import Detector
from logs_schema.settings import PiiSettings

SENTENCES = Path(__file__).with_name("pii_sentences.txt")
KINDS = {"E": "EMAIL_ADDRESS", "P": "PHONE_NUMBER", "C": "CREDIT_CARD", "I": "IBAN_CODE", "A": "IP_ADDRESS"}
MARKED = re.compile(r"\{\{([EPCIA]):(.*?)\}\}")


def sentences() -> list[tuple[str, str, set[tuple[int, int, str]]]]:
    """(language, text, marked places)."""
    found = []
    for line in SENTENCES.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        language, _, marked = line.partition(" | ")
        text, places, at = "", set(), 0
        for match in MARKED.finditer(marked):
            text += marked[at : match.start()]
            places.add((len(text), len(text) + len(match[2]), KINDS[match[1]]))
            text += match[2]
            at = match.end()
        found.append((language, text + marked[at:], places))
    return found


def measure(*, misses: bool = False) -> list[str]:
    """Lines of a Markdown table; a piece is found when its kind and both ends are right."""
    given = sentences()
    languages = sorted({language for language, _, _ in given})
    detector = Detector(PiiSettings(languages=tuple(languages)))
    there, hit, wrong, wrong_in = Counter[str](), Counter[str](), Counter[str](), set[str]()
    told = []
    for language, text, places in given:
        found = {(each.start, each.end, each.entity) for each in detector.find(text)}
        there.update(kind for _, _, kind in places)
        hit.update(kind for _, _, kind in places & found)
        wrong.update(kind for _, _, kind in found - places)
        wrong_in |= {text} if found - places else set()
        told += [f"missed {language} {kind}: {text[start:end]!r} in {text!r}" for start, end, kind in places - found]
        told += [f"wrong  {language} {kind}: {text[start:end]!r} in {text!r}" for start, end, kind in found - places]
    without = sum(not places for _, _, places in given)
    lines = [
        f"{len(given)} sentences in {', '.join(languages)}; {without} of them hold no personal data.",
        "",
        "| entity | in the text | found | recall | false positives |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind in KINDS.values():
        lines.append(f"| `{kind}` | {there[kind]} | {hit[kind]} | {hit[kind] / there[kind]:.0%} | {wrong[kind]} |")
    total, right = there.total(), hit.total()
    lines.append(f"| all | {total} | {right} | {right / total:.0%} | {wrong.total()} in {len(wrong_in)} sentences |")
    return [*lines, *(["", *sorted(told)] if misses else [])]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--misses", action="store_true")
    print("\n".join(measure(misses=parser.parse_args().misses)))
