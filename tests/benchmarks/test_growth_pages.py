"""The pages on growth and capacity say what the curves that are kept say."""

from __future__ import annotations

import pytest

from benchmarks.growth_pages import BLOCK, BLOCKS, DATA, DOCS, PAGES, TITLES, curves, written


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_is_written_of_the_curves(name: str) -> None:
    page = (DOCS / name).read_text()
    assert written(page, curves(DATA)) == page


def test_every_curve_and_block_is_on_a_page_and_drawn() -> None:
    named = {match[1] for page in PAGES for match in BLOCK.findall((DOCS / page).read_text())}
    assert named == TITLES.keys() | BLOCKS.keys()
    assert curves(DATA).keys() == TITLES.keys()
    assert {file.stem for file in DATA.glob("*.svg")} == TITLES.keys()


def test_only_what_stands_between_the_marks_is_written() -> None:
    point = {
        "label": "1", "wall_us": 10.0, "wall_us_range": [9.0, 11.0], "service_us": 5.0, "postgres_us": 2.0, "broker_us": 1.0,
        "states": 0.5, "wal_bytes": 1234, "memory_mb": 77,
    }  # fmt: skip
    page = "Before.\n<!-- growth: processes -->\nold\n<!-- end -->\n<!-- growth: keys -->\nkept\n<!-- end -->\nAfter.\n"
    text = written(page, {"processes": [point]})
    assert text.startswith("Before.\n<!-- growth: processes -->\n![")
    assert text.endswith("<!-- end -->\n<!-- growth: keys -->\nkept\n<!-- end -->\nAfter.\n")
    assert "| 1 | 10.0 | 9.0 – 11.0 | 5.0 | 2.0 | 1.0 | 0.50 | 1,234 | 77 |\n" in text
    assert "old" not in text
