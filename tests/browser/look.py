"""What a page must be for everybody: axe finds nothing, and nothing makes it scroll sideways."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
NARROWEST = 360
RUN = "only => axe.run(document, {resultTypes: ['violations'], ...(only.length && {runOnly: only})})"
OF_COLOURS = ["color-contrast", "link-in-text-block"]  # what a scheme can change
WIDER = """() => [...document.querySelectorAll('body *')]
    .filter(element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(element => element.outerHTML.slice(0, 160))"""


def violations(page: Page) -> list[str]:
    """What axe finds on the page as it is, in both schemes and at both widths: a sentence for each place."""
    page.evaluate(AXE_SCRIPT)
    found: list[str] = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            result = page.evaluate(RUN, OF_COLOURS if scheme == "dark" else [])
            found += [f"{page.url} {scheme} {width}: {said}" for said in _said(result["violations"])]
    return found


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways on a narrow phone; empty where nothing does."""
    page.set_viewport_size({"width": NARROWEST, "height": 800})
    if page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"):
        return []
    found: list[str] = page.evaluate(WIDER)
    return [page.url, *found]


def _said(violated: list[dict[str, Any]]) -> list[str]:
    return [f"{one['id']} ({one['impact']}): {node['html'][:200]}" for one in violated for node in one["nodes"]]
