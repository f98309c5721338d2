"""One stack and one Chromium for this folder, and people in front of it: each has a browser context of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.browser.person import Arrival, Person
from tests.browser.watch import watched
from tests.e2e.outside import Stack

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
NO_CHROMIUM = (
    f"There is no Chromium at {CHROMIUM}, and these tests need one. Install it (on Debian: apt-get install chromium), "
    "or set CHROMIUM to the path of a Chromium or Chrome."
)
# The list of the address bar is two pages, made anew with every window: they take half of the browser's time. The others are
# some that Playwright leaves out too; of two such arguments the last counts.
LEFT_OUT = (
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "HttpsUpgrades", "MediaRouter", "OptimizationHints", "PaintHolding",
)  # fmt: skip
PATIENCE_MS = 15_000
GONE_SECONDS = 30
_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed  # type: ignore[attr-defined]
    return report


# Playwright occupies the thread's event loop as long as it lives: it must end with this folder, not with the session.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A Chromium. It, and all that it has started, is gone at the end."""
    if shutil.which(CHROMIUM) is None:
        if "CI" in os.environ:
            pytest.fail(NO_CHROMIUM, pytrace=False)
        pytest.skip(NO_CHROMIUM)
    expect.set_options(timeout=PATIENCE_MS)
    before = _descendants()
    with sync_playwright() as playwright:
        chromium = launched(playwright)
        yield chromium
        started = _descendants() - before
        chromium.close()
    _, left = psutil.wait_procs([process for process in started if _is_browser(process)], timeout=GONE_SECONDS)
    assert left == []


def launched(playwright: Playwright) -> Browser:
    """Root has no sandbox, and containers a small /dev/shm."""
    arguments = [f"--disable-features={','.join(LEFT_OUT)}", "--disable-dev-shm-usage"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    return playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _is_browser(process: psutil.Process) -> bool:
    try:
        return "chrom" in process.name() or process.name() == "node"
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Who carries on for a killed gateway waits for so long first.
    started = Stack(
        tmp_path_factory.mktemp("browser") / "data", FOLDLINE_DELIVERY_TIMEOUT_SECONDS="4", FOLDLINE_SIGN_UPS="1000"
    )
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.fixture
def arrive(request: pytest.FixtureRequest, browser: Browser, stack: Stack, tmp_path: Path) -> Iterator[Arrival]:
    """Brings people in front of the dashboard who are not signed in. What their pages complain about fails the test."""
    with ExitStack() as contexts:
        arrived: list[Person] = []

        def come(width: int = 1280, height: int = 900, script: bool = True) -> Person:
            context = browser.new_context(
                base_url=stack.url,
                viewport={"width": width, "height": height},
                reduced_motion="reduce",
                java_script_enabled=script,
                permissions=["clipboard-read", "clipboard-write"],
            )
            contexts.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            person = Person(context.new_page(), watched(context, stack.url))
            arrived.append(person)
            return person

        yield come
        for number, person in enumerate(arrived):
            if person.watch.complaints or request.node.stash.get(_failed, False):
                person.keep(tmp_path, number)
    complaints = [complaint for person in arrived for complaint in person.watch.complaints]
    assert complaints == []


@pytest.fixture
def visitor(arrive: Arrival) -> Person:
    """Somebody who is not signed in."""
    return arrive()


@pytest.fixture
def owner(visitor: Person, stack: Stack) -> Person:
    """The owner of a new organisation, signed in."""
    visitor.arrive_signed_up(stack.url)
    return visitor
