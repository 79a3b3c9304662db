"""Mistakes of `factory.toml` and the environment: each names the setting and where its value comes from."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from logs_schema.settings import Section

PREFIX = "FACTORY_"
UNKNOWN = "unknown setting"


def mistakes_in(model: type[BaseModel], file: Path, content: Mapping[str, Any], error: ValidationError) -> list[str]:
    """A line for each mistake.

    Args:
        model: All sections.
        file: The configuration file.
        content: What it holds.
        error: What the sections refused.
    """
    return [f"{_where(model, file, content, detail['loc'])}: {_said(detail)}" for detail in error.errors()]


def unreadable_variables(model: type[BaseModel]) -> list[str]:
    """A line for each environment variable that sets a list or a table, and is not JSON."""
    found = []
    for name, value in sorted(os.environ.items()):
        if not name.upper().startswith(PREFIX):
            continue
        tables, rest, kind = _walk(model, name[len(PREFIX) :].lower().split("__"))
        is_table = len(tables) > 1 and not rest
        if is_table or (len(rest) == 1 and get_origin(kind) in (tuple, dict)):
            try:
                json.loads(value)
            except ValueError:
                example = f", such as {json.dumps([value])}" if get_origin(kind) is tuple else ""
                found.append(f"${name}: a {'list' if example else 'table'} in JSON is expected{example}")
    return found


def _walk(model: type[BaseModel], keys: Sequence[str]) -> tuple[list[str], list[str], Any]:
    """The tables on the way to a setting, the keys within the last of them, and the type of the first of these."""
    for place, key in enumerate(keys):
        field = model.model_fields.get(key)
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            return list(keys[:place]), list(keys[place:]), kind
        model = kind
    return list(keys), [], model


def _where(model: type[BaseModel], file: Path, content: Mapping[str, Any], location: Sequence[int | str]) -> str:
    keys = [str(part) for part in location]
    variables = {name.upper(): name for name in os.environ}
    exact, *around = [PREFIX + "__".join(keys[:length]).upper() for length in range(len(keys), 0, -1)]
    if exact in variables:
        return f"${variables[exact]}"
    involved = [variables[name] for name in around if name in variables]
    involved += [variables[name] for name in sorted(variables) if name.startswith(f"{exact}__")]
    named = " and ".join(f"${name}" for name in involved)
    if named and not _holds(content, location):
        return named
    tables, rest, _ = _walk(model, keys)
    place = f"{file}: [{'.'.join(tables)}] {'.'.join(rest)}".rstrip()
    return f"{place} with {named}" if named else place


def _holds(content: Any, location: Sequence[int | str]) -> bool:
    for key in location:
        try:
            content = content[key]
        except (LookupError, TypeError):
            return False
    return True


def _said(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return UNKNOWN
        case "tuple_type":
            example = f", such as {json.dumps([detail['input']])}" if isinstance(detail["input"], str) else ""
            return f"a list is expected{example}"
        case "model_type" | "dict_type":
            return "a table is expected"
        case _:
            return detail["msg"].removeprefix("Value error, ")
