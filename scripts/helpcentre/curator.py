"""The demo's SCRIPTED curator: it stands in for a person, and is named so wherever it leaves a trace.

It logs in to Argilla as an annotator user and reviews what is pending through Argilla's own API, as a
person would in the page: it reads the question and the passages that the record shows, and looks up the
reference answer that the help centre's author wrote for that question.

* the passages hold all the evidence → the reference is the ideal answer, cited by the passage that holds it;
* none of the evidence was retrieved, or the question has no answer → "The passages do not answer it";
* only a part of it was retrieved, or an outdated version → "Not usable".

    CURATOR_PASSWORD=… python scripts/helpcentre/curator.py --url http://127.0.0.1:6900 --user scripted-curator
"""

import argparse
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
PAGE = 100


def log_in(url: str, user: str, password: str) -> httpx.Client:
    """A client that acts as this annotator."""
    client = httpx.Client(base_url=url, timeout=60)
    answer = client.post("/api/v1/token", data={"username": user, "password": password})
    if answer.status_code != 201:
        raise SystemExit(f"Argilla at {url} refused the login of {user} ({answer.status_code}).")
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


def find_dataset(client: httpx.Client, name: str) -> str:
    """Id of the review dataset."""
    for dataset in client.get("/api/v1/me/datasets").raise_for_status().json()["items"]:
        if dataset["name"] == name:
            return str(dataset["id"])
    raise SystemExit(f"There is no dataset {name}: run `factory label push` first.")


def pending(client: httpx.Client, dataset: str) -> list[dict[str, Any]]:
    """The next records that this annotator has not answered yet."""
    mine = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}
    found = client.post(
        f"/api/v1/me/datasets/{dataset}/records/search",
        params={"limit": PAGE, "include": "responses"},
        json={"filters": {"and": [mine]}},
    )
    return [item["record"] for item in found.raise_for_status().json()["items"]]


def numbered(passages: str) -> dict[int, str]:
    """Passage number → text, read off the field that the curator sees."""
    parts = re.split(r"^\[(\d+)\]  ", passages, flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def decide(record: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Values of the form for one record."""
    fields = record["fields"]
    question = known.get(fields["question"])
    if question is None:
        return {"decision": "not_usable", "comment": "scripted curator: this question is not one of the demo's"}
    passages = numbered(fields["passages"])
    quotes = [evidence["quote"] for evidence in question["evidence"]]
    holding = [min((n for n, text in passages.items() if quote in text), default=None) for quote in quotes]
    if quotes and None not in holding:
        marks = "".join(f"[{n}]" for n in sorted({n for n in holding if n is not None}))
        return {"decision": "answer", "ideal_answer": f"{question['reference'].rstrip('.')} {marks}."}
    outdated = [evidence["older"] for evidence in question["evidence"] if evidence["older"]]
    if any(holding) or any(paragraph in text for paragraph in outdated for text in passages.values()):
        return {"decision": "not_usable", "comment": "scripted curator: only a part, or an outdated version, was found"}
    return {"decision": "abstain"}


def questions() -> dict[str, dict[str, Any]]:
    """Query → question, each evidence with the paragraph that stood in its place in the document's older version."""
    versions: dict[str, list[dict[str, Any]]] = {}
    for line in (HERE / "documents.jsonl").read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        versions.setdefault(document["doc_id"], []).append(document)
    found = {}
    for line in (HERE / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        question = json.loads(line)
        for evidence in question["evidence"]:
            *older, newest = sorted(versions[evidence["doc_id"]], key=lambda document: int(document["version"]))
            paragraphs = newest["text"].split("\n\n")
            place = next(n for n, paragraph in enumerate(paragraphs) if evidence["quote"] in paragraph)
            evidence["older"] = older[-1]["text"].split("\n\n")[place] if older else None
        found[question["query"]] = question
    return found


def review(
    url: str, user: str, password: str, dataset: str, decided_for: Callable[[dict[str, Any]], dict[str, str]]
) -> Counter[str]:
    """Submit a response for every pending record; counts by decision. Running again does what is left."""
    decided: Counter[str] = Counter()
    with closing(log_in(url, user, password)) as client:
        dataset_id = find_dataset(client, dataset)
        while records := pending(client, dataset_id):
            decisions = [decided_for(record) for record in records]
            responses = [
                {
                    "record_id": record["id"],
                    "status": "submitted",
                    "values": {name: {"value": value} for name, value in values.items()},
                }
                for record, values in zip(records, decisions, strict=True)
            ]
            answer = client.post("/api/v1/me/responses/bulk", json={"items": responses}).raise_for_status()
            refused = [item["error"]["detail"] for item in answer.json()["items"] if item["error"]]
            if refused:
                raise SystemExit(f"curator: Argilla refused {len(refused)} responses, the first because {refused[0]}.")
            decided.update(values["decision"] for values in decisions)
    return decided


def main() -> None:
    """Review everything that is pending."""
    parser = argparse.ArgumentParser(description="The demo's scripted curator.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--dataset", default="rag-review")
    options = parser.parse_args()
    password = os.environ.get("CURATOR_PASSWORD")
    if not password:
        raise SystemExit("Set CURATOR_PASSWORD to the password of the annotator user.")
    known = questions()
    decided = review(options.url, options.user, password, options.dataset, lambda record: decide(record, known))
    print(f"scripted curator: {decided.total()} records reviewed: {dict(decided.most_common())}")


if __name__ == "__main__":
    main()
