"""JSON as people have it, an array or a record a line: the text of each record with the line at which it starts.

1. An array is split at the brackets that are outside strings; what lies between them is parsed later, record by record.
2. Where the splitting itself finds no record, the rest cannot be read: that is one bad row, the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import orjson

from foldline.domain.values import PARSEABLE_DEPTH
from producers.files.problems import bad_file
from producers.files.source import BOM, ROW_BYTES, Blocks

BATCH_ROWS: Final = 1000

_BRACKET: Final = re.compile(rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]*+)*+([\[\]{}])', re.DOTALL)
_SCALAR: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s,"]+|,', re.DOTALL)
_CLOSES: Final = {ord("]"): ord("["), ord("}"): ord("{")}
_SPACE: Final = b" \t\r\n"


class Element(NamedTuple):
    """The text of one record. `broken` says why nothing after it can be read, if so."""

    raw: bytes
    line: int
    broken: str = ""


def lines(blocks: Blocks) -> Iterator[list[Element]]:
    """A record a line, without blank lines, in batches."""
    batch: list[Element] = []
    number, carry, skipping = 1, b"", False
    for block in _text(blocks):
        pieces = (carry + block).split(b"\n")
        carry = pieces.pop()
        for piece in pieces:
            if not skipping and (raw := piece.strip(_SPACE)):
                batch.append(Element(raw, number))
            skipping = False
            number += 1
        if len(carry) > ROW_BYTES:
            if not skipping:
                batch.append(Element(b"", number, _too_long()))
                yield batch
                return
            carry = b""
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = []
    if raw := carry.strip(_SPACE):
        batch.append(Element(raw, number))
    if batch:
        yield batch


def single(blocks: Blocks) -> Iterator[list[Element]]:
    """The whole file as one record."""
    data = b"".join(_text(blocks))
    before = len(data) - len(data.lstrip(_SPACE))
    yield [Element(data.strip(_SPACE), 1 + data[:before].count(b"\n"))]


def array(blocks: Blocks) -> Iterator[list[Element]]:
    """The elements of an array, in batches. Raises `BadFile` for brackets that nest too deep to be JSON of ours."""
    splitter, batch = _Splitter(), list[Element]()
    for block in _text(blocks):
        batch += splitter.feed(block)
        if splitter.broken:
            break
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = []
    batch += splitter.end()
    if batch:
        yield batch


class _Splitter:
    """Finds where the elements of an array begin and end, as its text comes."""

    def __init__(self) -> None:
        self._text = b""
        self._at = 0  # what lies before it has been looked at
        self._from = 0  # where the element, or what lies between two, begins
        self._line = 1  # of `_from`
        self._open: list[int] = []
        self._first = True
        self._over = False
        self.broken = False

    def feed(self, block: bytes) -> list[Element]:
        self._text = self._text[self._from :] + block
        self._at -= self._from
        self._from = 0
        found: list[Element] = []
        while not self.broken and (match := _BRACKET.match(self._text, self._at)):  # None: a string is not complete yet
            self._at = match.end()
            self._bracket(self._text[self._at - 1], self._at - 1, found)
        if not self.broken and len(self._text) - self._from > ROW_BYTES + len(block):
            self._break(found, self._from, _too_long())
        return found

    def end(self) -> list[Element]:
        """What is left when the text is over."""
        found: list[Element] = []
        if self.broken:
            return found
        if not self._over:
            self._break(found, self._from, "the file ends inside the array")
        elif self._text[self._from :].strip(_SPACE):
            self._break(found, self._from, "something follows the end of the array")
        return found

    def _bracket(self, bracket: int, place: int, found: list[Element]) -> None:
        opened = self._open
        if bracket in b"[{":
            if not opened:
                if self._over or self._text[self._from : place].strip(_SPACE):
                    self._break(found, self._from, "something follows the end of the array")
                    return
                self._start(place + 1)
            elif len(opened) == 1:
                self._between(place, found, last=False)
            opened.append(bracket)
            if len(opened) > PARSEABLE_DEPTH:
                raise bad_file("too_deep", f"The JSON nests more than {PARSEABLE_DEPTH} deep", self._line)
        elif not opened or opened[-1] != _CLOSES[bracket]:
            self._break(found, self._from, f"{chr(bracket)} closes nothing here")
        else:
            opened.pop()
            if len(opened) == 1:
                found.append(Element(self._text[self._from : place + 1], self._line))
                self._start(place + 1)
                self._first = False
            elif not opened:
                self._between(place, found, last=True)
                self._over = True
                self._start(place + 1)

    def _between(self, place: int, found: list[Element], last: bool) -> None:
        """What lies between two elements, or after the last: a comma, or elements without brackets."""
        gap = self._text[self._from : place].strip(_SPACE)
        expected = b"" if self._first or last else b","
        if gap == expected:
            self._start(place)
            return
        wants_comma = not self._first
        for scalar in _SCALAR.finditer(self._text, self._from, place):
            is_comma = scalar[0] == b","
            if is_comma != wants_comma or not (is_comma or _is_json(scalar[0])):
                self._break(found, scalar.start(), "a comma is missing or too many, or this is no JSON")
                return
            if not is_comma:
                self._start(scalar.start())
                found.append(Element(scalar[0], self._line))
                self._start(scalar.end())
                self._first = False
            wants_comma = not is_comma
        if last != wants_comma and not (last and self._first):
            self._break(found, self._from, "a comma is missing or too many")
            return
        self._start(place)

    def _start(self, place: int) -> None:
        """The next element, or what lies before it, begins there."""
        self._line += self._text.count(b"\n", self._from, place)
        self._from = place

    def _break(self, found: list[Element], place: int, why: str) -> None:
        gap = self._text[place:]
        self._start(place + len(gap) - len(gap.lstrip(_SPACE)))
        found.append(Element(self._text[self._from :][:1000], self._line, why))
        self.broken = True


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _too_long() -> str:
    return f"the record has more than {ROW_BYTES:,} bytes"


def _text(blocks: Blocks) -> Iterator[bytes]:
    """The file without its byte order mark."""
    head = b""
    begun = False
    for block in blocks():
        if begun:
            yield block
            continue
        head += block
        if len(head) >= len(BOM):
            begun = True
            yield head.removeprefix(BOM)
    if not begun and head:
        yield head
