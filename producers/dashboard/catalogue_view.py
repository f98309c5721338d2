"""How records are shown: what a search found in them, and their attributes one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from markupsafe import Markup

NAMES: Final = ("name", "title")
MAX_ROWS: Final = 200
MAX_VALUE_CHARACTERS: Final = 1000
MAX_JSON_CHARACTERS: Final = 64 * 1024

_TYPES: Final[dict[type, str]] = {
    str: "text", bool: "true/false", int: "number", float: "number", list: "list", dict: "object", type(None): "null"
}  # fmt: skip
_URL: Final = re.compile(r"https?://[^\s\"'<>]+")


class Attribute(NamedTuple):
    """An attribute in a table. `link` says whether the value is a URL to be followed."""

    name: str
    type: str
    value: str
    link: bool


def marked(text: str, words: Sequence[str]) -> Markup:
    """The text with each of the words marked, in whatever case it is written."""
    if not words:
        return Markup("{}").format(text)
    pieces = re.split("(" + "|".join(re.escape(word) for word in words) + ")", text, flags=re.IGNORECASE)
    shown = (
        Markup("<mark>{}</mark>").format(piece) if place % 2 else Markup("{}").format(piece)
        for place, piece in enumerate(pieces)
    )
    return Markup("").join(shown)


def attribute_rows(attributes: Mapping[str, Any]) -> list[Attribute]:
    """The first attributes by name, after what a record is called; long values cut short. Lists and objects are JSON."""
    names = sorted(attributes, key=lambda name: (name not in NAMES, name))
    return [_attribute(name, attributes[name]) for name in names[:MAX_ROWS]]


def shown_json(value: Any) -> tuple[str, bool]:
    """JSON with an indent of two, and whether it is all of it."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    return text[:MAX_JSON_CHARACTERS], len(text) <= MAX_JSON_CHARACTERS


def _attribute(name: str, value: Any) -> Attribute:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    shown = text if len(text) <= MAX_VALUE_CHARACTERS else text[:MAX_VALUE_CHARACTERS] + "…"
    return Attribute(name, _TYPES[type(value)], shown, isinstance(value, str) and _URL.fullmatch(shown) is not None)
