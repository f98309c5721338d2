"""The page of the schemas is made from them."""

from __future__ import annotations

from pathlib import Path

from schemas import bundle, reference

PAGE = Path(__file__).parents[2] / "docs" / "schemas.md"


def test_the_page_is_what_the_schemas_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.text(), "run python -m schemas.reference docs/schemas.md"


def test_every_schema_and_field_is_on_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for schema in bundle():
        assert f" {schema.id} (version {schema.version})" in text
        for field in schema.definition["fields"]:
            assert f"| `{field['name']}` | " in text
