"""Writes docs/commands.md from the command line itself; a test fails when the two differ.

Run it as `python scripts/commands_reference.py > docs/commands.md`.
"""

from typing import Any

import typer.main
from typer.testing import CliRunner

from factory.cli.app import app

HEAD = """# Commands

Every command but `init` takes `--json` to print its report for programs; `factory -c FILE …`
names another configuration file.

Exit codes: 0 done · 1 unexpected · 2 usage or configuration · 3 bad input · 4 not ready
(the message says what to run first) · 5 the gate refused.

_Made by `scripts/commands_reference.py`._
"""


def reference() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return HEAD + "".join(_sections(root, "factory"))


def _sections(command: Any, name: str) -> list[str]:
    subcommands: dict[str, Any] = getattr(command, "commands", {})
    below = [part for word, child in subcommands.items() for part in _sections(child, f"{name} {word}")]
    if subcommands and not command.invoke_without_command:
        return below
    shown = CliRunner().invoke(app, [*name.split(" ")[1:], "--help"], terminal_width=100, prog_name="factory")
    return [f"\n## {name}\n\n```text\n{shown.stdout.strip()}\n```\n", *below]


if __name__ == "__main__":
    print(reference(), end="")
