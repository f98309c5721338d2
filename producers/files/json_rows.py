"""JSON as people have it, an array or a record a line: the text of each record with the line at which it starts.

1. An array is split where its elements end, by brackets outside strings; each element is parsed later, by itself.
2. Where it cannot be split, the rest cannot be read: that is one bad row, the last.
3. A record of more than `ROW_BYTES` is one bad row; in a file of lines reading goes on after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from foldline.domain.records import ATTRIBUTES_MAX_DEPTH
from foldline.domain.values import PARSEABLE_DEPTH, Unparsable, parse
from producers.files.problems import bad_file
from producers.files.source import ROW_BYTES, Blocks, chunks

BATCH_ROWS: Final = 1000
CUT_BYTES: Final = 1000
QUICK_DEPTH: Final = 5
QUICK_ITEMS: Final = 1000
QUICK_BYTES: Final = 10_000
TOO_LARGE: Final = f"the record has more than {ROW_BYTES:,} bytes"

_SPACE: Final = b" \t\r\n"
_KEPT: Final = b'"record"'


class Element(NamedTuple):
    """The text of one record. A `code` says that it is none, and `message` why. `record` is what orjson made of it, where it
    was asked already."""

    raw: bytes
    line: int
    code: str = ""
    message: str = ""
    record: dict[str, Any] | None = None


def lines(blocks: Blocks) -> Iterator[list[Element]]:
    """A record a line, without blank lines, in batches."""
    number, carry, skipping = 1, b"", False
    for chunk in chunks(blocks):
        *pieces, carry = (carry + chunk).split(b"\n")
        if skipping and pieces:
            pieces[0], skipping = b"", False
        found = [(raw, line) for line, piece in enumerate(pieces, number) if (raw := piece.strip(_SPACE))]
        number += len(pieces)
        yield from _batches([Element(_own(raw), line) for raw, line in found])
        if skipping:
            carry = b""
        elif len(carry) > ROW_BYTES:
            yield [Element(carry[:CUT_BYTES], number, "row_too_large", TOO_LARGE)]
            carry, skipping = b"", True
    if not skipping and (raw := carry.strip(_SPACE)):
        yield [Element(_own(raw), number)]


def single(blocks: Blocks) -> Iterator[list[Element]]:
    """The whole file as one record."""
    data = b"".join(chunks(blocks))
    before = len(data) - len(data.lstrip(_SPACE))
    yield [Element(data.strip(_SPACE), 1 + data.count(b"\n", 0, before))]


def array(blocks: Blocks) -> Iterator[list[Element]]:
    """The elements of an array, in batches. Raises `BadFile` for brackets that nest too deep to be JSON of ours."""
    splitter = _Splitter()
    for chunk in chunks(blocks):
        yield from _batches(splitter.feed(chunk))
        if splitter.broken:
            return
    yield from _batches(splitter.end())


def is_record(raw: bytes) -> bool:
    """Whether a text is a JSON object, with whatever numbers."""
    try:
        return type(parse(raw)[0]) is dict
    except Unparsable:
        return False


def _batches(found: list[Element]) -> Iterator[list[Element]]:
    return (found[at : at + BATCH_ROWS] for at in range(0, len(found), BATCH_ROWS))


def _own(raw: bytes) -> bytes:
    """The text of a record; of one that a file of wrong rows has in quotes, because it is no JSON, what is quoted."""
    if _KEPT in raw:
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return raw
        if type(record) is dict and record.keys() == {"error", "record"} and type(record["record"]) is str:
            kept: str = record["record"]
            return kept.encode().strip(_SPACE)
    return raw


# An element that nests up to `QUICK_DEPTH` deep, in one go, where nothing of it has more than `QUICK_ITEMS` within. What
# comes next is told by one character, so nothing is tried twice. Groups are not possessive: before Python 3.11.5 these may
# match what they should not (https://github.com/python/cpython/issues/106052).
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_OTHER: Final = rb'[^"\[\]{}]*+'


def _nested(depth: int) -> bytes:
    """A pattern of an object or an array that nests so deep at most."""
    within = b"|" + _nested(depth - 1) if depth > 1 else b""
    inside = rb"%b(?:(?:%b%b)%b){0,%d}" % (_OTHER, _STRING, within, _OTHER, QUICK_ITEMS)
    return rb"\{%b\}|\[%b\]" % (inside, inside)


_ELEMENT: Final = rb'(%b|%b|[^ \t\r\n,\[\]{}"]++(?=[ \t\r\n,\]]))' % (_nested(QUICK_DEPTH), _STRING)
_BRACKET: Final = re.compile(rb"%b(?:%b%b){0,%d}([\[\]{}]?)" % (_OTHER, _STRING, _OTHER, QUICK_ITEMS), re.DOTALL)
# Where an object may end, and the next begin: if all before it is JSON, it does.
_TO_OBJECT: Final = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+(?=\{)")
_BETWEEN: Final = re.compile(rb"\}[ \t\r\n]*+,[ \t\r\n]*+(?=\{)")
_BLANK: Final = re.compile(rb"[ \t\r\n]*+")
_SCALAR: Final = re.compile(rb'[^ \t\r\n,\[\]{}"]*+')
_CLOSES: Final = {b"]": b"[", b"}": b"{"}

# What may come where: the end of the array is in group 1, an element in group 2.
_START, _FIRST, _NEXT, _WANTED, _OVER = range(5)
_STEPS: Final = {
    _FIRST: re.compile(rb"[ \t\r\n]*+(?:(\])|%b)" % _ELEMENT, re.DOTALL),
    _NEXT: re.compile(rb"[ \t\r\n]*+(?:(\])|,[ \t\r\n]*+%b)" % _ELEMENT, re.DOTALL),
    _WANTED: re.compile(rb"[ \t\r\n]*+(?:((?!))|%b)" % _ELEMENT, re.DOTALL),
}
_WRONG: Final = {
    _FIRST: "a record is missing",
    _NEXT: "a comma is missing",
    _WANTED: "a comma is followed by no record",
    _OVER: "something follows the end of the array",
}


class _Splitter:
    """Finds the elements of an array, as its text comes. One that is not complete waits for twice as much of it."""

    def __init__(self) -> None:
        self._text, self._wanted = b"", 0
        self._line, self._counted = 1, 0
        self._state = _START
        self.broken = False

    def feed(self, chunk: bytes) -> list[Element]:
        """The elements that the text completes."""
        self._text += chunk
        return self._elements() if len(self._text) >= min(self._wanted, ROW_BYTES) else []

    def end(self) -> list[Element]:
        """What is left when the text is over."""
        found = self._elements()
        if not self.broken and self._state != _OVER:
            self._break(found, 0, "the file ends inside the array")
        return found

    def _elements(self) -> list[Element]:
        found: list[Element] = []
        at, after = -1, 0
        while not self.broken and after > at:
            at = after
            if self._state == _NEXT and (after := self._run(found, at)) > at:
                continue
            match = step.match(self._text, at) if (step := _STEPS.get(self._state)) else None
            if match is None:
                after = self._step(found, at)
            elif match.lastindex == 2:
                after = self._add(found, *match.span(2))
            else:
                self._state, after = _OVER, match.end()
        if not self.broken:
            self._line_at(at)
            self._text, self._counted = self._text[at:], 0
            self._wanted = 2 * len(self._text)
            if len(self._text) > ROW_BYTES:
                self._break(found, 0, TOO_LARGE, "row_too_large")
        return found

    def _run(self, found: list[Element], at: int) -> int:
        """Takes elements one after the other as long as the pattern does, and returns the place after them."""
        text, match_next = self._text, _STEPS[_NEXT].match
        at = self._run_of_objects(found, at)
        line, counted = self._line, self._counted
        while (match := match_next(text, at)) and match.lastindex == 2:
            start, at = match.span(2)
            line += text.count(b"\n", counted, start)
            counted = start
            found.append(Element(_own(text[start:at]), line))
        self._line, self._counted = line, counted
        return at

    def _run_of_objects(self, found: list[Element], at: int) -> int:
        """The same for objects that are followed by another: takes half the time where none has a list of objects in it."""
        text, between = self._text, _TO_OBJECT.match(self._text, at)
        line, counted = self._line, self._counted
        while between:
            start = between.end()
            between = _BETWEEN.search(text, start, start + QUICK_BYTES)
            if not between:
                break
            end = between.start() + 1
            raw = text[start:end]
            try:
                record = orjson.loads(raw)
            except orjson.JSONDecodeError:
                break
            line += text.count(b"\n", counted, start)
            counted, at = start, end
            found.append(Element(_own(raw), line) if _KEPT in raw else Element(raw, line, "", "", record))
        self._line, self._counted = line, counted
        return at

    def _step(self, found: list[Element], at: int) -> int:
        """Takes what the patterns do not, and returns the place after it; `at` where that needs more text."""
        place = _after(_BLANK, self._text, at)
        mark = self._text[place : place + 1]
        if place > at or not mark:
            return place
        if self._state == _START:
            self._state = _FIRST
            return place + 1
        if self._state == _NEXT and mark == b",":
            self._state = _WANTED
            return place + 1
        if self._state in (_NEXT, _OVER) or mark in b"]},:":
            self._break(found, place, _WRONG[self._state])
        elif mark in b"[{":
            return self._nested(found, place)
        elif mark != b'"' and _after(_SCALAR, self._text, place) < len(self._text):
            self._break(found, place, _WRONG[_NEXT])
        return at

    def _nested(self, found: list[Element], start: int) -> int:
        """Takes an element by its brackets, however deep they are, if all of it is there."""
        opened: list[bytes] = []
        place = start
        while (match := _BRACKET.match(self._text, place)) and match.end() > place:
            place, bracket = match.end(), match[1]
            if not bracket:
                continue
            if bracket in b"[{":
                opened.append(bracket)
                if len(opened) > PARSEABLE_DEPTH:
                    message = f"The JSON nests more than {PARSEABLE_DEPTH} deep: {ATTRIBUTES_MAX_DEPTH} is what a record may"
                    raise bad_file("too_deep", message, self._line_at(place))
            elif opened.pop() != _CLOSES[bracket]:
                line = self._line_at(start) + self._text.count(b"\n", start, place)
                self._break(found, start, f"{bracket.decode()} on line {line} closes nothing")
                return start
            if not opened:
                return self._add(found, start, place)
        return start

    def _add(self, found: list[Element], start: int, end: int) -> int:
        found.append(Element(_own(self._text[start:end]), self._line_at(start)))
        self._state = _NEXT
        return end

    def _line_at(self, place: int) -> int:
        self._line += self._text.count(b"\n", self._counted, place)
        self._counted = place
        return self._line

    def _break(self, found: list[Element], place: int, why: str, code: str = "invalid_json") -> None:
        raw = self._text[place : place + CUT_BYTES]
        found.append(Element(raw, self._line_at(place), code, f"{why}: nothing after it was read"))
        self._text, self.broken = b"", True


def _after(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
