"""What a curator sees of one record, and what is asked.

Text from logs is shown as plain text, never as Markdown or HTML, and its control characters are
made visible.
"""

from pathlib import Path
from typing import Any

from logs_schema.records import Context, RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import TICKET, Decision, Failure

GUIDELINES = Path(__file__).with_name("guidelines.md")

DECISIONS = {
    Decision.answer: "Bad answer: I write a better one",
    Decision.abstain: "The passages do not answer it",
    Decision.good_as_is: "The answer is good as it is",
    Decision.not_usable: "Not usable",
}

FAILURES = {
    Failure.unfaithful: "Says what the passages do not support",
    Failure.over_refusal: "Refuses although the passages hold the answer",
    Failure.incomplete: "Leaves out what was asked for",
    Failure.bad_citation: "Cites the wrong passage, or none",
    Failure.bad_format: "Has the wrong form",
    Failure.missing_abstention: "Answers although the passages do not hold it",
    Failure.insufficient_context: "The passages do not help",
    Failure.stale_context: "The passages are out of date",
}

TICKET_ANSWER = "(A support ticket that a person resolved: no answer to judge. The resolution is the draft below.)"
_INVISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_INVISIBLE |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_INVISIBLE |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def guidelines(house: HouseSettings) -> str:
    """The guidelines in Markdown, with the house's version and wording."""
    text = GUIDELINES.read_text(encoding="utf-8")
    return text.replace("{version}", house.guidelines_version).replace("{abstention}", house.abstention)


def form(house: HouseSettings) -> dict[str, Any]:
    """The review dataset in the terms of Argilla's HTTP interface: guidelines, fields, questions, metadata."""
    return {
        "guidelines": guidelines(house),
        "fields": [
            _field("question", "Question"),
            _field("conversation", "Conversation before it", required=False),
            _field("answer", "What the assistant answered"),
            _field("why", "Why it was flagged (a program's guess)", required=False),
            _field("passages", "Passages: use only these"),
        ],
        "questions": [
            _choice(
                "decision",
                "What should the answer have been?",
                "Judge by the passages only, even when you know better.",
                {decision.value: title for decision, title in DECISIONS.items()},
                required=True,
            ),
            _text(
                "ideal_answer",
                "Ideal answer, when you write a better one",
                "Needed when the answer is bad. Facts from the passages only, cited like [1].",
            ),
            _choice(
                "failure",
                "What is wrong with the answer?",
                "The main thing only; leave it open when nothing fits.",
                {failure.value: title for failure, title in FAILURES.items()},
            ),
            _text("comment", "Comment", "For the engineers: doubts, or why it is not usable."),
        ],
        "metadata-properties": [
            _property("flagged_as", "Flagged as", visible=True),
            _property("reason", "Reason"),
            _property("priority", "Priority", kind="float"),
            _property("record_hash", "Record hash"),
            _property("guidelines_version", "Guidelines version"),
        ],
    }


def _field(name: str, title: str, *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "title": title, "required": required, "settings": {"type": "text", "use_markdown": False}}


def _text(name: str, title: str, description: str) -> dict[str, Any]:
    settings = {"type": "text", "use_markdown": False}
    return {"name": name, "title": title, "description": description, "required": False, "settings": settings}


def _choice(
    name: str, title: str, description: str, labels: dict[str, str], *, required: bool = False
) -> dict[str, Any]:
    options = [{"value": value, "text": text} for value, text in labels.items()]
    settings = {"type": "label_selection", "options": options, "visible_options": None}
    return {"name": name, "title": title, "description": description, "required": required, "settings": settings}


def _property(name: str, title: str, *, kind: str = "terms", visible: bool = False) -> dict[str, Any]:
    """Hidden from annotators unless `visible`: who knows the priority knows what the miner thought."""
    return {"name": name, "title": title, "settings": {"type": kind}, "visible_for_annotators": visible}


def record_fields(record: RagRecord, why: str | None) -> dict[str, str]:
    """The fields of one record; `why` is None for audit records, so that the miner's verdict stays hidden."""
    fields = {
        "question": shown(record.query),
        "answer": shown(record.response.strip()) or (TICKET_ANSWER if TICKET in record.tags else "(no answer)"),
        "passages": _passages(record.contexts),
    }
    if record.history:
        fields["conversation"] = "\n\n".join(
            f"{message.role.capitalize()}: {shown(message.content.strip())}" for message in record.history
        )
    if why:
        fields["why"] = shown(why)
    return fields


def shown(text: str) -> str:
    """The text with what is invisible or turns the reading direction made visible."""
    return text.translate(_INVISIBLE)


def _passages(contexts: tuple[Context, ...]) -> str:
    if not contexts:
        return "(no passage was found)"
    return "\n\n\n".join(_passage(number, context) for number, context in enumerate(contexts, start=1))


def _passage(number: int, context: Context) -> str:
    parts = [shown(context.title.strip())] if context.title else []
    parts += [f"as of {context.updated_at:%Y-%m-%d}"] if context.updated_at else []
    about = "  ·  ".join(parts) + "\n" if parts else ""
    return f"[{number}]  {about}" + (shown(context.text.strip()) or "(its text was not logged)")
