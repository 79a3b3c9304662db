"""A required output format, given as a JSON Schema."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.mining.diagnose import diagnose
from factory.mining.format import misfit, schema_validator
from factory.mining.lexical import lexical_scorer
from factory.mining.settings import MiningSettings
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import Failure, Route

SCHEMA = json.dumps({
    "type": "object",
    "required": ["answer", "sources"],
    "properties": {"answer": {"type": "string"}, "sources": {"$ref": "#/$defs/numbers"}},
    "$defs": {"numbers": {"type": "array", "items": {"type": "integer"}}},
})  # fmt: skip


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ('{"answer": "14 days", "sources": [1]}', None),
        ("14 days [1].", "it is not JSON"),
        ('```json\n{"answer": "14 days", "sources": [1]}\n```', "it is not JSON"),
        ('{"answer": "14 days", "sources": [NaN]}', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("1" * 10_000, "it is not JSON"),
        ('{"answer": "14 days"}', "at $, 'sources' is a required property"),
        ('{"answer": "14 days", "sources": ["one"]}', "at $.sources[0], 'one' is not of type 'integer'"),
    ],
)
def test_a_response_keeps_to_the_schema_or_not(response: str, reason: str | None) -> None:
    assert misfit(response, None, SCHEMA) == reason


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda some: st.lists(some) | st.dictionaries(st.text(), some))
)
def test_any_json_is_told_briefly(value: Any) -> None:
    reason = misfit(json.dumps(value), None, '{"type": "boolean"}')
    assert reason is not None and reason.startswith("at $, ") and len(reason) < 120


def test_a_broken_schema_is_bad_format(make: Any) -> None:
    settings, house = MiningSettings(format_schema=SCHEMA), HouseSettings()
    record = make()
    scores = lexical_scorer(house)([record])[0]
    finding = diagnose(record, scores, settings=settings, house=house, versions={})
    assert (finding.failure, finding.route) == (Failure.bad_format, Route.behaviour)
    assert finding.why == "The response does not have the required format: it is not JSON."


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "not a JSON Schema"),
        ("5", "must be an object"),
        ('{"type": "nonsense"}', "'nonsense' is not valid"),
        ('{"$ref": "http://example.com/schema.json"}', "refers to http://example.com/schema.json, which is not in it"),
        ('{"items": {"$ref": "#/$defs/lost"}}', "which is not in it"),
        ('{"pattern": "("}', "not a 'regex'"),
        ('{"items":' * 3000 + "{}" + "}" * 3000, "nested too deeply"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_configuration(schema: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MiningSettings(format_schema=schema)


def test_older_drafts_are_known() -> None:
    schema = '{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"type": "null"}}, '
    schema += '"additionalProperties": {"$ref": "#/definitions/a"}}'
    assert schema_validator(schema).is_valid({"x": None}) and misfit('{"x": 1}', None, schema)
