"""The documentation's site in a browser, from the file system and without a network: read, searched, on a phone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("documentation")
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--site-dir", str(directory)], cwd=ROOT, check=True)
    return directory.as_uri()


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["light, wide", "dark, narrow"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A page whose complaints, and requests to elsewhere, fail the test."""
    scheme, width = request.param
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    yield opened
    context.close()
    assert complaints == []


@pytest.mark.parametrize("name", ["index", "tutorial", "settings", "growth", "runbook", "source/foldline/domain/fold.py"])
def test_a_page_is_shown_without_a_network(page: Page, site: str, name: str) -> None:
    page.goto(f"{site}/{name}.html")
    expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    images = page.locator("article img:visible")
    assert all(image.evaluate("image => image.complete && image.naturalWidth > 0") for image in images.all())


def test_it_can_be_searched_without_a_network(page: Page, site: str) -> None:
    page.goto(f"{site}/index.html")
    if page.viewport_size and page.viewport_size["width"] < 960:
        page.locator("label[for=__search].md-header__button").click()
    page.locator("input.md-search__input").click()
    page.locator("input.md-search__input").press_sequentially("redrive")
    expect(page.locator(".md-search-result__item", has_text="redrive").first).to_be_visible()
