import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("labeling/*.md")])
COMMAND = re.compile(r"`(?:\$ )?factory ([a-z][a-z|-]*(?: [a-z][a-z|]*)?)")

sys.path.insert(0, str(ROOT / "scripts"))


def commands() -> set[str]:
    import typer.main

    from factory.cli.app import app

    root = typer.main.get_command(app)
    groups = getattr(root, "commands", {})
    return set(groups) | {f"{name} {word}" for name, group in groups.items() for word in getattr(group, "commands", {})}


def test_the_command_reference_is_what_the_commands_say() -> None:
    from commands_reference import reference  # type: ignore[import-not-found]

    assert (ROOT / "docs/commands.md").read_text() == reference(), (
        "run: python scripts/commands_reference.py > docs/commands.md"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_commands_and_files_that_exist(page: Path) -> None:
    text = page.read_text()
    known = commands()
    groups = {name.split(" ")[0] for name in known if " " in name}
    for words in COMMAND.findall(text):
        first, _, second = words.partition(" ")
        for name in first.split("|"):
            assert name in known, f"{page.name}: `factory {words}`"
        if first in groups and second:
            assert all(f"{first} {word}" in known for word in second.split("|")), f"{page.name}: `factory {words}`"
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_setting_that_pages_name_exists() -> None:
    from factory.config_template import render

    known = set(re.findall(r"^# (\w+) (?:=|is not set)", render(), re.MULTILINE))
    for page in PAGES:
        for section, key in re.findall(r"`\[(\w+)\] (\w+)", page.read_text()):
            assert f"[{section}]" in render() and key in known, f"{page.name}: [{section}] {key}"
