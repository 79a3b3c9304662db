"""The log formats that `factory import` knows.

A format is a line here and a module of its name beside this one, with two functions, `looks` and
`parse`, as `parsed.Format` describes them. Importing this module loads none of them: `--help` lists the names.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from logs_schema.errors import ConfigurationError, InputError
from logs_schema.importers.read import Line

if TYPE_CHECKING:
    from logs_schema.importers.parsed import Format

AUTO = "auto"
FORMATS = {
    "langsmith": "runs (id, run_type, start_time, trace_id, …), or feedback (run_id, key, score, …)",
    "langfuse": "traces (id, timestamp, input, output, observations, …), observations (traceId, type, startTime, …) or "
    "scores (traceId, name, value, dataType, source)",
    "otel": "OTLP bodies (resourceSpans, resourceLogs), or spans with gen_ai, traceloop or langfuse attributes",
    "openinference": "spans with a trace id and attributes (openinference.span.kind, retrieval.documents, …), or "
    "annotations (span_id, name, result)",
    "native": "query, response, contexts, … as docs/log-format.md describes them; or trace_id with feedback",
}
"""Name of each format → how it is recognised, in the order in which recognising tries them."""
NAMES = (AUTO, *FORMATS)
"""What `--format` and the setting `[imports] format` take."""


@cache
def load(name: str) -> "Format":
    """The format of that name in `FORMATS`."""
    from logs_schema.importers.parsed import Format

    module = import_module(f"logs_schema.importers.{name}")
    return Format(name, FORMATS[name], module.looks, module.parse)


def check_name(name: str) -> str:
    """The name, when it is one of `NAMES`.

    Raises:
        ConfigurationError: it is not; lists those that are.
    """
    if name not in NAMES:
        raise ConfigurationError(f"There is no log format {name[:40]!r}. Known are {', '.join(NAMES)}.")
    return name


def recognise(lines: Sequence[Line], file: str, wanted: str = AUTO) -> "Format":
    """Format of a file by its first lines; with `wanted`, that one, when a line has the look of it.

    Raises:
        InputError: the file has no known format, or not the wanted one; says what was seen.
        ConfigurationError: there is no format of the wanted name.
    """
    name = "standard input" if file == "-" else file
    check_name(wanted)
    values = [line.value for line in lines if line.value is not None]
    # every line of the sample has a say before the next format: a trace may begin with a span of any kind
    found = next((format for format in map(load, FORMATS) if any(map(format.looks, values))), None)
    if wanted != AUTO and any(load(wanted).looks(value) for value in values):
        return load(wanted)
    if found and wanted == AUTO:
        return found
    if not lines:
        raise InputError(f"{name} holds no log lines.")
    if not values:
        raise InputError(f"{name} is not a log of JSON objects; line {lines[0].number}: {lines[0].reason}.")
    keys = ", ".join(repr(key[:40]) for key in list(values[0])[:8]) or "nothing"
    if wanted != AUTO:
        instead = f"it has the look of {found.name}" if found else "it has the look of no known format"
        raise InputError(
            f"{name} is not {wanted} ({FORMATS[wanted]}): its first object holds {keys}; {instead}. "
            "Name another --format, or none."
        )
    known = "; ".join(f"{known} ({by})" for known, by in FORMATS.items())
    raise InputError(f"The format of {name} is not known: its first object holds {keys}. Known are {known}.")
