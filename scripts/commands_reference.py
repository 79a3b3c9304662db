"""Writes docs/commands.md from the command line itself; a test fails when the two differ.

    python scripts/commands_reference.py > docs/commands.md
"""

from typing import Any

HEAD = """# Commands

Every command takes `--json` to print its report for programs, and `factory -c FILE …` for another
configuration file. Exit codes: 0 done · 1 unexpected · 2 usage or configuration · 3 bad input · 4 not ready
(the message says what to run first) · 5 the gate refused.

_Made by `scripts/commands_reference.py`._
"""


def reference() -> str:
    """The whole page."""
    import typer.main

    from factory.cli.app import app

    root = typer.main.get_command(app)
    return HEAD + "".join(_sections(root, "factory"))


def _sections(command: Any, name: str) -> list[str]:
    subcommands: dict[str, Any] = getattr(command, "commands", {})
    if subcommands:
        return [part for word, child in subcommands.items() for part in _sections(child, f"{name} {word}")]
    usage = [name]
    rows = []
    for parameter in command.params:
        if parameter.name in ("help", "as_json"):
            continue
        words = _said(parameter)
        if parameter.param_type_name == "argument":
            usage.append(parameter.make_metavar(_context(command)))
        rows.append(f"* `{words}`: {getattr(parameter, 'help', None) or ''}")
    lines = ["", f"## `{' '.join(usage)}`", "", (command.help or "").strip(), *([""] if rows else []), *rows]
    return ["\n".join(lines) + "\n"]


def _said(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.human_readable_name)
    value = "" if parameter.is_flag else f" {(parameter.metavar or parameter.type.name).upper()}"
    return "/".join(parameter.opts) + value


def _context(command: Any) -> Any:
    return command.context_class(command)


if __name__ == "__main__":
    print(reference(), end="")
