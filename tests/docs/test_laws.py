"""The laws that users read are those with which the fold opens."""

from __future__ import annotations

import re

from foldline.domain import fold
from tests.docs.test_reference import page


def laws(text: str) -> list[str]:
    """The numbered paragraphs, each in one line."""
    numbered = re.split(r"^(?=\d+\. )", text, flags=re.MULTILINE)[1:]
    return [" ".join(law.partition("\n\n")[0].split()) for law in numbered]


def test_the_page_has_the_laws_of_the_fold() -> None:
    section = page("how-it-works.md").partition("## The laws\n")[2].partition("\n## ")[0]
    assert laws(section) == laws(str(fold.__doc__))
    assert len(laws(section)) >= 9
