import json
from pathlib import Path

from factory.dataset.settings import DatasetSettings
from factory.mining.lexical import groundedness

HELP = Path(__file__).parents[2] / "scripts" / "helpcentre"


def rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (HELP / name).read_text(encoding="utf-8").splitlines()]


def paragraph(documents: list[dict[str, object]], doc_id: str, quote: str) -> str:
    """The newest paragraph of a document that holds a quote."""
    texts = [str(one["text"]) for one in documents if one["doc_id"] == doc_id]
    return next(part for text in reversed(texts) for part in text.split("\n\n") if quote in part)


def test_the_default_threshold_passes_good_answers_and_catches_those_to_other_questions() -> None:
    documents = rows("documents.jsonl")
    good: list[tuple[str, list[str]]] = []
    for row in rows("questions.jsonl"):
        evidence = row.get("evidence")
        if row.get("reference") and isinstance(evidence, list) and evidence:
            found = [paragraph(documents, one["doc_id"], one["quote"]) for one in evidence]
            good.append((str(row["reference"]), list(dict.fromkeys(found))))
    wrong = [
        (next(answer for answer, other in good[n + 1 :] + good[:n] if not set(other) & set(texts)), texts)
        for n, (_, texts) in enumerate(good)
    ]
    at_least = DatasetSettings().grounded
    assert len(good) > 300
    assert sum(support >= at_least for support in groundedness(good)) / len(good) >= 0.97
    assert sum(support < at_least for support in groundedness(wrong)) / len(wrong) >= 0.99
