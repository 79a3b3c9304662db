"""The required format of a response: a regular expression, a JSON Schema, or both."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_SHOWN = 100
"""Characters of what a schema objects to, which may be the whole response."""


def misfit(response: str, regex: str | None, schema: str | None) -> str | None:
    """What is wrong with the format of a response, as a clause; None when nothing is.

    Args:
        response: The answer.
        regex: It must be found in the response (dot matches newline).
        schema: Text of a JSON Schema that the response, as JSON, must keep to.
    """
    if regex is not None and not _compiled(regex).search(response):
        return "it does not match `format_regex`"
    return _off_schema(response, schema) if schema is not None else None


@lru_cache(maxsize=8)
def schema_validator(text: str) -> "Validator":
    """What checks a value against a JSON Schema, given as text; nothing is fetched.

    Raises:
        ValueError: it is no JSON Schema, or refers to what is not in it.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        schema = _json(text)
        if not isinstance(schema, dict):
            raise ValueError("it must be an object")
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        resource = Resource.from_contents(schema, default_specification=DRAFT202012)
        resolver = Registry[Any]().resolver_with_root(resource)
        for reference in _references(schema):
            resolver.lookup(reference)
    except SchemaError as error:
        raise ValueError(error.message) from error
    except Unresolvable as error:
        raise ValueError(f"it refers to {error.ref}, which is not in it") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return kind(schema, registry=Registry())


def _off_schema(response: str, schema: str) -> str | None:
    from jsonschema.exceptions import best_match

    try:
        value = _json(response)
    except (ValueError, RecursionError):
        return "it is not JSON"
    try:
        error = best_match(schema_validator(schema).iter_errors(value))
    except RecursionError:
        return "it is nested too deeply"
    return f"at {error.json_path}, {' '.join(error.message.split())[:_SHOWN]}" if error else None


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


@lru_cache(maxsize=8)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)
