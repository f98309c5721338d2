"""The site is whole and loads nothing from elsewhere; what is broken in a page does not become a site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, pages

# What a browser loads by itself; a link that somebody follows may lead anywhere.
LOADED = re.compile(
    r'<(?:script|img|iframe|source)[^>]* src="?([^" >]+)|<link[^>]* rel="?(?:stylesheet|icon|preload|preconnect)"?[^>]*>'
)

BROKEN = {
    "[here](nowhere.md)": "nowhere.md",
    "[here](http.md#no-such-heading)": "no-such-heading",
    "[here](../foldline/nothing.py)": "foldline/nothing.py",
    "![here](nothing.svg)": "nothing.svg",
    "A page that is in no navigation is one, too.": "astray.md",
}


def build(checkout: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    built = build(ROOT, directory)
    assert built.returncode == 0, built.stderr
    return directory


def test_every_page_is_on_it(site: Path) -> None:
    names = {page.relative_to(ROOT / "docs") for page in pages() if page.is_relative_to(ROOT / "docs")}
    expected = {name.with_suffix(".html").as_posix().replace("README", "index") for name in names}
    assert expected | {"contributing.html", "changelog.html"} <= {
        file.relative_to(site).as_posix() for file in site.rglob("*.html")
    }


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = {
        match[1] or match[0] for page in site.rglob("*.html") for match in LOADED.finditer(page.read_text(encoding="utf-8"))
    }
    assert len(loaded) > 5
    assert [place for place in loaded if re.search(r"(?:https?:)?//", place)] == []
    styles = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    assert [
        place for style in styles for place in re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^)\"']+)", style)
    ] == []


def test_files_of_the_source_that_are_linked_are_pages(site: Path) -> None:
    shown = (site / "source" / "foldline" / "domain" / "fold.py.html").read_text(encoding="utf-8")
    assert "what the upserts of one key add up to" in shown
    assert "source/foldline/domain/fold.py.html" in (site / "how-it-works.html").read_text(encoding="utf-8")


def test_a_broken_link_is_no_site(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("docs", "foldline", "examples", "schemas", "benchmarks", "deploy"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in ("mkdocs.yml", "compose.yaml", "Dockerfile", ".env.example", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / "docs" / "index.md").write_text("# Foldline\n\n" + "\n\n".join(BROKEN))
    (checkout / "docs" / "astray.md").write_text("# Astray\n")
    built = build(checkout, tmp_path / "site")
    assert built.returncode != 0
    warnings = [part for part in built.stderr.split("WARNING") if any(said in part for said in BROKEN.values())]
    assert [said for said in BROKEN.values() if not any(said in part for part in warnings)] == []
    assert built.stderr.count("WARNING") == len(BROKEN)
