"""Logs made by a seed, for benchmarks: native JSON lines of any length, written and read as a stream."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

PASSAGES = 20_000
"""Distinct passages."""
CONTEXTS = 5
"""Passages a record."""
BEGAN = datetime(2026, 1, 5, tzinfo=UTC)


class Words:
    """Text of made-up words whose frequencies fall as those of a language do (Zipf)."""

    def __init__(self, rng: random.Random) -> None:
        syllables = [first + last for first in "bdfgklmnprstvz" for last in ("a", "e", "i", "o", "u", "an", "el", "or")]
        known = {"".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) for _ in range(12_000)}
        self._rng = rng
        self._words = sorted(known)
        rng.shuffle(self._words)
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(len(self._words))))

    def text(self, count: int) -> str:
        """Some sentences of so many words together."""
        words = self._rng.choices(self._words, cum_weights=self._weights, k=count)
        sentences = [" ".join(words[at : at + 12]).capitalize() for at in range(0, count, 12)]
        return ". ".join(sentences) + "."


def private(rng: random.Random) -> str:
    """A sentence with personal data."""
    number = rng.randrange(10_000)
    return rng.choice((f" Write to user{number}@example.com.", f" Call +1 212 555 {number:04}.", " See 8.8.4.4."))


def passages(seed: int) -> list[str]:
    """The corpus as JSON objects without their `{`: about 120 words each, one in a hundred with personal data."""
    rng = random.Random(seed)
    words = Words(rng)
    found = []
    for number in range(PASSAGES):
        document = number // 4
        changed = BEGAN - timedelta(days=rng.randint(1, 700))
        passage = {
            "text": words.text(rng.randint(100, 140)) + (private(rng) if number % 100 == 0 else ""),
            "doc_id": f"kb-{document:05}",
            "title": words.text(4),
            "url": f"https://kb.example.com/{document}",
            "updated_at": changed.isoformat(),
        }
        found.append(json.dumps(passage).removeprefix("{"))
    return found


def lines(count: int, seed: int = 17) -> Iterator[str]:
    """Lines of the native format; the first N are the same however many there are."""
    corpus = passages(seed)
    rng = random.Random(seed + 1)
    words = Words(random.Random(seed + 2))
    for number in range(count):
        record = {
            "trace_id": f"trace-{number:09}",
            "timestamp": (BEGAN + timedelta(seconds=number * 3)).isoformat(),
            "query": words.text(rng.randint(6, 18))[:-1] + "?" + (private(rng) if rng.random() < 0.05 else ""),
            "response": words.text(rng.randint(30, 80)),
            "model": "house-7b",
            "latency_ms": rng.randint(300, 4000),
            "prompt_tokens": rng.randint(700, 1100),
            "completion_tokens": rng.randint(40, 120),
            "session_id": f"session-{number // 3}",
            "user_id": f"user-{rng.randrange(20_000)}",
        }
        if rng.random() < 0.1:
            record["thumbs"] = rng.choice(("up", "down"))
        shown = (f'{{"score": {rng.random():.4f}, {passage}' for passage in rng.sample(corpus, CONTEXTS))
        yield f'{json.dumps(record)[:-1]}, "contexts": [{", ".join(shown)}]}}\n'


def write(path: Path, count: int) -> None:
    """A file of so many records."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(lines(count))
