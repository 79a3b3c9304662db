"""Spans that the Langfuse SDK exports by OpenTelemetry: an observation in `langfuse.*` attributes."""

from logs_schema.importers.attributes import Tree, at, identity, trace_id_of, tree_of
from logs_schema.importers.fields import answer_of, json_value, question_of, text_of
from logs_schema.importers.langfuse import observation_span
from logs_schema.importers.parsed import Parsed

PREFIX = "langfuse."


def looks(value: Tree) -> bool:
    """Whether a line is such a span."""
    attributes = value.get("attributes")
    if not isinstance(attributes, dict):
        return any(key.startswith(f"attributes.{PREFIX}observation") for key in value)
    told = any(key.startswith((f"{PREFIX}observation", f"{PREFIX}trace")) for key in attributes)
    return (told or "langfuse" in attributes) and trace_id_of(value) is not None


def parse(value: Tree, source: str) -> Parsed:
    """One span. Its parent may lie in another system: `langfuse.internal.as_root` says so.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    value, tree = tree_of(value)
    told = at(tree, "langfuse.observation") or {}
    same = identity(value)
    as_root = str(at(tree, "langfuse.internal.as_root")).lower() == "true"
    root = as_root or same["parent_id"] is None
    observation = {
        "type": at(told, "type"),
        "name": value.get("name"),
        "startTime": value.get("start_time"),
        "input": at(told, "input"),
        "output": at(told, "output"),
        "model": at(told, "model.name") or at(tree, "gen_ai.request.model"),
        "promptName": at(told, "prompt.name"),
        "promptVersion": at(told, "prompt.version"),
        "usageDetails": at(told, "usage_details"),
        "level": at(told, "level"),
        "statusMessage": at(told, "status_message"),
        "sessionId": text_of(at(tree, "langfuse.session.id", "session.id")),
        "userId": text_of(at(tree, "langfuse.user.id", "user.id")),
        "tags": at(tree, "langfuse.trace.tags"),
    }
    error = {"error": same["error"]} if same["error"] else {}
    known = {name: same[name] for name in ("trace_id", "span_id", "started", "ended")}
    span = observation_span(
        observation, **known, **error, parent_id=None if root else same["parent_id"], detached=False
    )
    if root:
        asked, history = question_of(json_value(at(tree, "langfuse.trace.input")))
        answered = answer_of(json_value(at(tree, "langfuse.trace.output")))
        span = span.model_copy(
            update={
                "query": asked or span.query,
                "history": history or span.history,
                "output": span.output if answered is None else answered,
            }
        )
    return Parsed(spans=[span])
