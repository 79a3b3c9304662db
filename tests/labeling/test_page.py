"""The change of the web page that keeps a record's text text."""

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from labeling.server.embedded import page


def write_page(folder: Path, fields: int = 9) -> None:
    (folder / "a.js").write_text(
        "domProps:{innerHTML:e._s(e.fieldText)}" * fields
        + "isHTML:function isHTML(){return/<([A-Z][A-Z0-9]*)\\b[^>]*>(.*?)<\\/\\1>/.test(this.fieldText)},x:1" * 8
        + "innerHTML:e._s(e.markdownToHtml)"
    )
    (folder / "a.css").write_text(
        "@import url(https://fonts.googleapis.com/css2?family=A:wght@300;400&display=swap);" * 2 + ".a{color:red}"
    )
    (folder / "index.html").write_text('<script>run("it")</script><script src="/a.js"></script>')


def test_the_known_page_is_cured(tmp_path: Path) -> None:
    write_page(tmp_path)
    page.cure(tmp_path)
    script = (tmp_path / "a.js").read_text()
    assert script.count("textContent:e._s(e.fieldText)") == 9
    assert "innerHTML:e._s(e.fieldText)" not in script
    assert script.count("isHTML:function isHTML(){return false},x:1") == 8
    assert "innerHTML:e._s(e.markdownToHtml)" in script
    assert (tmp_path / "a.css").read_text() == ".a{color:red}"


def test_an_unknown_page_is_not_served(tmp_path: Path) -> None:
    write_page(tmp_path, fields=8)
    with pytest.raises(SystemExit, match="found in 8 places, not 9"):
        page.cure(tmp_path)


def test_only_the_pages_own_scripts_may_run(tmp_path: Path) -> None:
    write_page(tmp_path)
    policy = dict(page.security_headers(tmp_path))[b"content-security-policy"].decode()
    digest = base64.b64encode(hashlib.sha256(b'run("it")').digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_headers_are_on_every_response() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"1")]})
        await send({"type": "http.response.body", "body": b"x"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    asyncio.run(page.with_headers(app, [(b"b", b"2")])({"type": "http"}, receive, send))
    assert sent[0]["headers"] == [(b"a", b"1"), (b"b", b"2")]
    assert sent[1] == {"type": "http.response.body", "body": b"x"}
