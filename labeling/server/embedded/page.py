"""Make Argilla's web page safe for text from logs, which is untrusted.

The page of 2.8.0 puts a record's text into the document as HTML. The copy that is served is changed
so that text stays text, and a Content-Security-Policy stops whatever else might get through.
"""

import base64
import hashlib
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Change(NamedTuple):
    """One change of the page, and in how many places it must be found."""

    files: str
    pattern: str
    replacement: str
    places: int


CHANGES = (
    Change("*.js", r"innerHTML:(\w)\._s\(\1\.fieldText\)", r"textContent:\1._s(\1.fieldText)", 9),
    Change("*.js", r"(isHTML:function isHTML\(\)\{return)/[^{}]*?/\.test\(this\.fieldText\)\}", r"\1 false}", 8),
    Change("*.css", r"@import url\(https://fonts\.googleapis\.com/[^)]*\);", "", 2),
)


def cure(static: Path) -> None:
    """Change the served copy of the page; stops the server when a place is not as expected."""
    for change in CHANGES:
        places = 0
        for file in static.rglob(change.files):
            text, count = re.subn(change.pattern, change.replacement, file.read_text(encoding="utf-8"))
            if count:
                file.write_text(text, encoding="utf-8")
            places += count
        if places != change.places:
            sys.exit(
                f"the page of this argilla-server is not the one known to be safe: {change.pattern!r} "
                f"was found in {places} places, not {change.places}"
            )


def security_headers(static: Path) -> list[tuple[bytes, bytes]]:
    """Headers that let the page run its own scripts only, and talk to its own server only."""
    inline = {
        script
        for page in static.rglob("*.html")
        for script in re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)
    }
    hashes = sorted(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline)
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)]),
        "style-src": "'self' 'unsafe-inline'",  # the page itself adds style elements
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return [
        (b"content-security-policy", "; ".join(f"{name} {value}" for name, value in policy.items()).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]


def with_headers(app: App, headers: list[tuple[bytes, bytes]]) -> App:
    """The application, with these headers on every response."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await app(scope, receive, send_with_headers)

    return wrapped
