"""What MkDocs does not do by itself: pages that lie outside docs/, and links to files that are no pages.

1. CONTRIBUTING.md and CHANGELOG.md are pages of the site. A text file of the source that a page links to is a page below
   `source/`.
2. A link to anything else of the checkout becomes its text: on the site it would lead nowhere. One to what does not exist is
   left as it is, for MkDocs to warn of.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OUTSIDE = {"contributing.md": ROOT / "CONTRIBUTING.md", "changelog.md": ROOT / "CHANGELOG.md"}
LANGUAGES = {
    ".py": "python",
    ".sql": "sql",
    ".avsc": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".sh": "sh",
    ".ts": "typescript",
}
FENCED = re.compile(r"^(```|~~~)[^\n]*\n.*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for uri, file in OUTSIDE.items():
        files.append(File.generated(config, uri, content=file.read_text()))
    for target in sorted({target for file in files.documentation_pages() for target in _outside(file)}):
        if language := LANGUAGES.get(target.suffix):
            name = target.relative_to(ROOT).as_posix()
            text = f"# {name}\n\n~~~~~~~~{language}\n{target.read_text().rstrip()}\n~~~~~~~~\n"
            files.append(File.generated(config, _source(target), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if page.file.src_uri.startswith("source/"):
        return markdown
    here = posixpath.dirname(page.file.src_uri)

    def there(link: re.Match[str]) -> str:
        text, target = link.groups()
        file, anchor = _resolved(page.file, target)
        if file is None:
            return link[0]
        uri = _uri(file)
        if uri is None:
            return text
        return f"[{text}]({posixpath.relpath(uri, here or '.')}{anchor})"

    return _outside_of_code(markdown, lambda text: LINK.sub(there, text))


def _outside(page: File) -> set[Path]:
    """What a page links to of the checkout that is neither in docs/ nor a page of the site."""
    targets = LINK.findall(FENCED.sub("", page.content_string))
    files = {file for _, target in targets if (file := _resolved(page, target)[0])}
    return {file for file in files if not file.is_relative_to(DOCS) and file not in OUTSIDE.values()}


def _resolved(page: File, target: str) -> tuple[Path | None, str]:
    """The file that a link of a page leads to, and its anchor; no file for a link within the page, or to elsewhere."""
    path, mark, anchor = target.partition("#")
    if not path or "://" in path or path.startswith(("mailto:", "/")):
        return None, ""
    lies = OUTSIDE.get(page.src_uri, DOCS / page.src_uri)
    file = (lies.parent / path).resolve()
    if not file.exists():
        return None, ""
    return file, mark + anchor


def _uri(file: Path) -> str | None:
    """Where a file of the checkout is on the site."""
    if file.is_relative_to(DOCS):
        return file.relative_to(DOCS).as_posix()
    for uri, outside in OUTSIDE.items():
        if file == outside:
            return uri
    return _source(file) if file.suffix in LANGUAGES else None


def _source(file: Path) -> str:
    return f"source/{file.relative_to(ROOT).as_posix()}.md"


def _outside_of_code(markdown: str, change: Callable[[str], str]) -> str:
    """The text with everything changed but what stands in fenced code."""
    parts, end = [], 0
    for block in FENCED.finditer(markdown):
        parts += [change(markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(markdown[end:])])
