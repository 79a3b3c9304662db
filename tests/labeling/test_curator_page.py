"""A curator at work in the real page, in a real browser; and text from logs that attacks her."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from labeling.push import push
from labeling.settings import LabelingSettings
from logs_schema.records import Context, Message, RagRecord
from logs_schema.settings import HouseSettings

pytestmark = [
    pytest.mark.slow,
    # argilla 2.8.0 still uses pydantic's class-based `Config`:
    # https://github.com/argilla-io/argilla/blob/v2.8.0/argilla/src/argilla/_models/_record/_response.py
    pytest.mark.filterwarnings("ignore:Support for class-based `config`:pydantic.warnings.PydanticDeprecatedSince20"),
]

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
HOSTILE = (
    "<img src=x onerror=\"window.attacked='img'\"> "
    "<iframe srcdoc=\"<script>parent.attacked='frame'</script>\"></iframe> "
    "<style>body{display:none!important}</style> "
    "<script>window.attacked='script'</script> <svg onload=\"window.attacked='svg'\"></svg> <b>bold</b> "
    "![x](https://evil.example/pixel.png) [link](javascript:window.attacked='link') "
    '<form action="https://evil.example"><input autofocus onfocus="window.attacked=\'focus\'"></form> '
    "{{constructor.constructor(\"window.attacked='template'\")()}}"
)

Make = Callable[..., RagRecord]
QueueUp = Callable[..., None]


class Desk:
    """One browser page of one curator, and what the browser asked for."""

    def __init__(self, page: Any, settings: LabelingSettings) -> None:
        self.page, self.settings = page, settings
        self.requested: list[str] = []
        self.failed: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("response", lambda response: self.failed.append(response.url) if response.status >= 500 else None)

    def log_in(self, name: str, password: str) -> None:
        self.page.goto(self.settings.api_url)
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_text(self.settings.dataset, exact=True).click()

    def outside(self) -> set[str]:
        here = urlsplit(self.settings.api_url).netloc
        schemes = [urlsplit(url) for url in self.requested]
        return {url.netloc for url in schemes if url.scheme in ("http", "https", "ws", "wss") and url.netloc != here}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.fail("no browser: install the package `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def desk(browser: Any, labeling: LabelingSettings) -> Iterator[Desk]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(30_000)
    yield Desk(context.new_page(), labeling)
    context.close()


def test_a_curator_logs_in_sees_progress_submits_and_filters(
    desk: Desk, engine: Engine, house: HouseSettings, make_record: Make, queue_up: QueueUp, served: Any
) -> None:
    history = (Message(role="user", content="I bought a lamp."),)
    queue_up(engine, *[make_record(n, history=history) for n in range(3)])
    push(engine, desk.settings, house, draft=lambda record: ("You have 30 days.", "correction"))
    page = desk.page
    desk.log_in("ada", served[1].new_logins["ada"])

    page.get_by_text("1 of 3").wait_for()
    for text in ("User: I bought a lamp.", "Returns  ·  as of 2026-01-02", "it says 14 days, passage 1 says 30"):
        assert page.get_by_text(text).first.is_visible()
    assert "30 days." in page.locator("body").inner_text()
    page.get_by_text("Guidelines", exact=False).first.click()
    page.get_by_text("Use the passages only.", exact=False).first.wait_for()
    page.get_by_text("Guidelines", exact=False).first.click()

    asked = page.get_by_text("How long do I have to return order").first.inner_text()
    page.get_by_text("Bad answer: I write a better one").click()
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("33.33%").wait_for()
    page.get_by_text("of 2").wait_for()

    page.get_by_text(re.compile(r"^\s*pending\s*$", re.IGNORECASE)).first.click()
    page.locator("label.radio-button__label").get_by_text("submitted").click()
    page.get_by_text(asked).first.wait_for()
    assert "status=submitted" in page.url
    assert page.get_by_text("of 1").is_visible()

    assert desk.outside() == set()
    assert desk.failed == []


def test_text_from_logs_stays_text(
    desk: Desk, engine: Engine, house: HouseSettings, make_record: Make, queue_up: QueueUp, served: Any
) -> None:
    hostile = make_record(
        1,
        query=HOSTILE,
        response=HOSTILE,
        contexts=(Context(text=HOSTILE, title=HOSTILE),),
        history=(Message(role="user", content=HOSTILE),),
    )
    queue_up(engine, hostile, why=HOSTILE)
    push(engine, desk.settings, house, draft=lambda record: (HOSTILE, "correction"))
    page = desk.page
    desk.log_in("ada", served[1].new_logins["ada"])
    page.get_by_text("1 of 1").wait_for()
    page.wait_for_timeout(1500)  # whatever would run has run by then
    shown = page.locator("body").inner_text()
    assert shown.count(HOSTILE) >= 6  # question, conversation, answer, why, title and text of the passage
    search = page.url + "&_search=" + json.dumps(HOSTILE)
    page.goto(search)
    page.wait_for_timeout(2500)
    assert page.evaluate("window.attacked") is None
    assert page.locator("iframe").count() == 0
    assert page.locator("body").evaluate("body => getComputedStyle(body).display") != "none"
    assert page.locator("img[src='x'], form[action*='evil'], img[src*='evil']").count() == 0
    assert desk.outside() == set()
    assert desk.failed == []
