"""The harness sees what it is to see: otherwise the other tests of this folder could not fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Route

from tests.browser.look import too_wide, violations
from tests.browser.person import Person
from tests.e2e.outside import eventually

pytestmark = pytest.mark.server

POLICY = {"Content-Security-Policy": "default-src 'self'; script-src 'self'"}
ZONE = """() => {
    document.body.innerHTML = '<button style="width:300px;height:100px">Drop here</button>';
    const zone = document.body.firstChild;
    zone.addEventListener('dragover', event => event.preventDefault());
    zone.addEventListener('drop', async event => {
        event.preventDefault();
        const file = event.dataTransfer.files[0];
        zone.textContent = `${event.isTrusted} ${file.name}: ${await file.text()}`;
    });
}"""


def served(person: Person, html: str, status: int = 200, **headers: str) -> None:
    """Shows the person a page of the test's own."""

    def answer(route: Route) -> None:
        icon = '<link rel="icon" href="data:,">'
        route.fulfill(status=status, content_type="text/html", headers=headers, body=f"<!doctype html>{icon}{html}")

    person.page.route("**/made-up", answer)
    person.page.goto("/made-up")


@pytest.mark.parametrize(
    ("html", "status", "headers", "said"),
    [
        ("<script>console.error('told')</script>", 200, {}, "console: told"),
        ("<script>throw new Error('thrown')</script>", 200, {}, "exception: thrown"),
        ("<script>setTimeout(() => Promise.reject(new Error('late')))</script>", 200, {}, "exception: late"),
        ("<img alt='' src='http://127.0.0.2:9/x.png'>", 200, {}, "another host: http://127.0.0.2:9/x.png"),
        ("<p style='color: red'>", 200, POLICY, "console: Applying inline style violates"),
        ("<script>1</script>", 200, POLICY, "console: Executing inline script violates"),
        ("", 500, {}, "answered 500: GET"),
        ("", 404, {}, "answered 404: GET"),
        ("<img alt='' src='/nowhere.png'>", 200, {}, "answered 404: GET"),
    ],
)
def test_what_the_watch_sees(visitor: Person, html: str, status: int, headers: dict[str, str], said: str) -> None:
    served(visitor, html, status, **headers)
    assert eventually(lambda: visitor.page.evaluate("1") and said in "\n".join(visitor.watch.complaints), 5)
    visitor.watch.complaints.clear()


def test_what_the_watch_lets_pass(visitor: Person) -> None:
    visitor.watch.expected = {404}
    served(visitor, "<img alt='' src='/nowhere.png'><script>console.warn('hm')</script>", 404)
    visitor.page.wait_for_load_state("networkidle")
    assert visitor.watch.complaints == []


def test_what_the_look_sees(visitor: Person) -> None:
    served(
        visitor, "<html lang=en><title>x</title><main><h1>x</h1><img src='data:,'><div style='width:500px'>x</div></main>"
    )
    assert {said.split(": ")[1] for said in violations(visitor.page)} == {"image-alt (critical)"}
    assert '<div style="width:500px">x</div>' in too_wide(visitor.page)
    visitor.page.evaluate("() => document.querySelectorAll('img, div').forEach(element => element.remove())")
    assert (violations(visitor.page), too_wide(visitor.page)) == ([], [])


def test_a_file_is_dropped_as_a_person_drops_it(visitor: Person, tmp_path: Path) -> None:
    served(visitor, "<body>")
    visitor.page.evaluate(ZONE)
    file = tmp_path / "dropped.csv"
    file.write_text("a,b")
    visitor.drop(file, visitor.button("Drop here"))
    visitor.button("true dropped.csv: a,b").wait_for()


@pytest.mark.parametrize(("told", "code", "outcome"), [({"CI": "true"}, 1, "error"), ({}, 0, "skipped")])
def test_without_a_chromium_it_is_said_what_to_install(told: dict[str, str], code: int, outcome: str) -> None:
    """CI has to have one."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | told | {"CHROMIUM": "/nowhere"}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"{__file__}::test_what_the_look_sees"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, outcome in run.stdout) == (code, True), run.stdout
    assert "There is no Chromium at /nowhere, and these tests need one. Install it (on Debian: apt-get install" in run.stdout
