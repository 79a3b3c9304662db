"""OpenTelemetry spans of any convention: OTLP export bodies, or one span or log event a line."""

from logs_schema.importers import genai, langfuse_spans, openinference, trulens
from logs_schema.importers.attributes import Tree
from logs_schema.importers.otlp import is_body, unpack
from logs_schema.importers.parsed import Parsed, gathered

CONVENTIONS = (
    (trulens.looks, trulens.parse),
    (langfuse_spans.looks, langfuse_spans.parse),
    (genai.looks, genai.parse),
)
"""(looks, parse) of one span's conventions, tried in this order; what nobody knows is read as OpenInference."""


def looks(value: Tree) -> bool:
    """Whether a line is an OTLP body, or a span that is written by other conventions than OpenInference alone."""
    return is_body(value) or langfuse_spans.looks(value) or (genai.looks(value) and not _is_openinference(value))


def parse(value: Tree, source: str) -> Parsed:
    """Everything in an OTLP body, each span by its own convention; or one such span.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one), when it is one span that cannot be used.
    """
    if is_body(value):
        return gathered(unpack(value), source, parse_span)
    return parse_span(value, source)


def parse_span(value: Tree, source: str) -> Parsed:
    """One span, log event or annotation, in the shape that `otlp.unpack` gives or a JSON file holds.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    if "event_name" in value:
        return genai.parse(value, source)
    if not _is_openinference(value):
        for looks_so, parse_so in CONVENTIONS:
            if looks_so(value):
                return parse_so(value, source)
    return openinference.parse(value, source)


def _is_openinference(value: Tree) -> bool:
    attributes = value.get("attributes")
    told = attributes if isinstance(attributes, dict) else value
    return any("openinference.span.kind" in key for key in told) or "openinference" in told
