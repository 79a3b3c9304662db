"""The commented `factory.toml` that `factory init` writes, made from the settings themselves."""

import inspect
import json
from pathlib import Path

from pydantic.fields import FieldInfo

from factory.settings import CONFIG_FILE, Settings
from logs_schema.errors import ConfigurationError
from logs_schema.files import write_atomic
from logs_schema.settings import Section


def init(folder: Path) -> Path:
    """Write a commented `factory.toml` with every setting at its default.

    Raises:
        ConfigurationError: the folder holds one already; it is never overwritten.
    """
    file = folder / CONFIG_FILE
    if file.exists():
        raise ConfigurationError(
            f"{file} exists already and is left as it is. Edit it, or run `factory init` elsewhere."
        )
    write_atomic(file, render().encode())
    return file


def render() -> str:
    """Text of the file: every setting commented out at its default, under what it does."""
    head = "# Groundmill. Each line below shows a default: take away the # to change it. $FACTORY_SECTION__NAME wins.\n"
    sections = []
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            sections.append(_section(name, annotation))
    return head + "".join(sections)


def _section(name: str, section: type[Section]) -> str:
    lines = ["", f"[{name}]"]
    comments = _attribute_docstrings(section)
    parts = []
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            parts.append(_section(f"{name}.{key}", field.annotation))
            continue
        lines += [f"# {line}" for line in comments.get(key, "").splitlines()]
        default = _toml(field)
        lines.append(f"# {key} is not set" if default is None else f"# {key} = {default}")
    return "\n".join(lines) + "\n" + "".join(parts)


def _toml(field: FieldInfo) -> str | None:
    default = field.get_default(call_default_factory=True)
    if default is None:
        return None
    if isinstance(default, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in default.items()) + " }"
    return json.dumps(default, ensure_ascii=False)


def _attribute_docstrings(section: type[Section]) -> dict[str, str]:
    """Docstrings below the fields: Python keeps them in the source only."""
    import ast
    import textwrap

    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return found
