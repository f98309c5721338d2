"""JSON values: which ones hold, and the one form in which a number is kept.

1. A number is an integer from -2^63 to 2^63-1, or a finite double that is 0 or between 1e-60 and 1e60 in magnitude.
2. A string, keys included, has no U+0000 and no unpaired surrogate.
3. Objects and arrays nest at most 32 deep, `attributes` itself being 1.
4. Of a repeated key the last counts.
5. A double that is a whole number of at most 64 bits is kept as an integer, -0.0 as 0: what PostgreSQL's jsonb and a
   JSON reader make of either spelling is then the same.

orjson parses; one look at the parsed value finds what it may have let through (a literal that overflowed or vanished,
depth). Only then a slower parse, which sees every literal, decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import orjson

from foldline.domain.records import ATTRIBUTES_MAX_DEPTH, Rejection

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
DOUBLE_MIN, DOUBLE_MAX = 1e-60, 1e60
# Below it a literal may be shorter than what is written for it: `1e-5` becomes `0.00001`.
NEVER_LONGER_MIN = 0.01
PARSEABLE_DEPTH = 512

# What a look at a parsed value says of it, from nothing to do to the most.
PLAIN, NORMALISE, ZERO, SUSPICIOUS = 0, 1, 2, 3

_ZEROS = b"0" * 100
_TINY = re.compile(rb"[0-9.][eE]-0*[1-9][0-9]{2}")
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
_STRING = re.compile(rb'"(?:[^"\\]+|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {bracket: 1 if bracket in b"[{" else -1 for bracket in b"[]{}"}
_BAD_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_BAD_STRING = "has U+0000 or an unpaired surrogate"
_NOT_KEPT = "must be an integer from -2^63 to 2^63-1, or a double that is 0 or from 1e-60 to 1e60 in magnitude"


class BadNumber:
    """Stands in a parsed value for a number literal that breaks rule 1: `BAD_NUMBER` for every one."""


BAD_NUMBER = BadNumber()


class Unparsable(Exception):
    """The text is not JSON, or nests too deep to be parsed. `code` is the contract's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def parse(text: bytes) -> tuple[Any, bool]:
    """Parses UTF-8 JSON text by orjson, or exactly where that refuses it. Returns the value and whether exactly.

    A value that was parsed exactly, or that `look` finds suspicious, has to be asked for its `faults`; the latter after
    `parse_exactly`. Raises `Unparsable`.
    """
    try:
        return orjson.loads(text), False
    except orjson.JSONDecodeError:
        return parse_exactly(text), True


def look(value: Any, depth: int = 1) -> int:
    """What a parsed object or array is: PLAIN; NORMALISE (to be written anew, perhaps by rule 5); ZERO (SUSPICIOUS where a
    literal of the text `may_have_vanished`, else NORMALISE); or SUSPICIOUS (rules 1 to 3 may not hold). What is PLAIN never
    takes more bytes as compact JSON than its text has.

    U+0000 is not looked for: test the raw text for its escape.
    """
    if depth > ATTRIBUTES_MAX_DEPTH:
        return SUSPICIOUS
    found = PLAIN
    for member in value.values() if type(value) is dict else value:
        kind = type(member)
        if kind is str:
            continue
        if kind is float:
            size = abs(member)
            if size < DOUBLE_MIN or size >= 2.0**63:
                if size:
                    return SUSPICIOUS
                found = ZERO
            elif found is PLAIN and (size < NEVER_LONGER_MIN or member.is_integer()):
                found = NORMALISE
        elif kind is int:
            if not INTEGER_MIN <= member <= INTEGER_MAX:
                return SUSPICIOUS
        elif kind is dict or kind is list:
            inner = look(member, depth + 1)
            if inner > found:
                if inner is SUSPICIOUS:
                    return SUSPICIOUS
                found = inner
        elif kind is BadNumber:
            return SUSPICIOUS
    return found


def may_have_vanished(text: bytes) -> bool:
    """Whether the text may have a number that is not 0 and that a double makes 0: one below 1e-323 in magnitude.

    Such a literal has a negative exponent of three digits, or hundreds of zeros. A quick look comes first: it finds nearly
    all texts that have neither.
    """
    if b"e-" not in text and b"E-" not in text and _ZEROS not in text:
        return False
    return _ZEROS in text or _TINY.search(text) is not None


def attributes_of(text: str) -> tuple[dict[str, Any], int] | Rejection:
    """The attributes that an event carries, normalised, and a bound of their size in bytes as compact JSON."""
    raw = text.encode("utf-8", "surrogatepass")
    try:
        value, exact = parse(raw)
        if type(value) is not dict:
            return Rejection("invalid_type", "attributes", "attributes must be a JSON object")
        found = SUSPICIOUS if exact or b"\\u0000" in raw else look(value)
        if found is ZERO:
            found = SUSPICIOUS if may_have_vanished(raw) else NORMALISE
        if found is PLAIN:
            return value, len(raw)
        if found is SUSPICIOUS:
            value = value if exact else parse_exactly(raw)
            for fault in faults(value, "attributes"):
                return fault
    except Unparsable as unparsable:
        return Rejection(unparsable.code, "attributes", unparsable.message)
    value = normalised(value)
    return value, len(orjson.dumps(value))


def faults(value: Any, path: str, depth: int = 1) -> Iterator[Rejection]:
    """Every breach of rules 1 to 3 in an exactly parsed value, each with its path (`attributes.sizes[2].eu`)."""
    kind = type(value)
    if kind is str:
        if _BAD_CHARACTER.search(value):
            yield Rejection("invalid_string", path, f"{path} {_BAD_STRING}")
    elif kind is BadNumber:
        yield Rejection("invalid_number", path, f"{path} {_NOT_KEPT}")
    elif kind is dict or kind is list:
        if depth > ATTRIBUTES_MAX_DEPTH:
            yield Rejection("too_deep", path, f"{path} nests deeper than {ATTRIBUTES_MAX_DEPTH}")
            return
        place: Any
        for place, member in value.items() if kind is dict else enumerate(value):
            bad_key = kind is dict and string_fault(place)
            if bad_key or _may_have_faults(member):
                member_path = f"{path}.{printable(place)}" if kind is dict else f"{path}[{place}]"
                if bad_key:
                    yield Rejection("invalid_string", member_path, f"{member_path} {_BAD_STRING}")
                yield from faults(member, member_path, depth + 1)


def fault_count(value: Any, depth: int = 1) -> int:
    """How many `faults` an exactly parsed object or array has, without a name for any: a request may have very many."""
    if depth > ATTRIBUTES_MAX_DEPTH:
        return 1
    count, members, bad_character = 0, value, _BAD_CHARACTER.search
    if type(value) is dict:
        count, members = sum(bad_character(key) is not None for key in value), value.values()
    for member in members:
        kind = type(member)
        if kind is str:
            if bad_character(member):
                count += 1
        elif kind is BadNumber:
            count += 1
        elif kind is dict or kind is list:
            count += fault_count(member, depth + 1)
    return count


def string_fault(value: str) -> bool:
    """Whether a string breaks rule 2."""
    return _BAD_CHARACTER.search(value) is not None


def _may_have_faults(value: Any) -> bool:
    kind = type(value)
    return string_fault(value) if kind is str else kind is dict or kind is list or kind is BadNumber


def normalised(value: Any) -> Any:
    """The value with every number in the form of rule 5. A new value: the one given is not changed."""
    kind = type(value)
    if kind is dict:
        return {key: normalised(member) for key, member in value.items()}
    if kind is list:
        return [normalised(member) for member in value]
    if kind is float and value.is_integer() and INTEGER_MIN <= value < 2.0**64:
        return int(value)
    return value


def printable(text: str) -> str:
    """The text with what cannot be sent as JSON or shown in a line escaped, and cut to 300 characters."""
    shown = text if len(text) <= 300 else text[:299] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def parse_exactly(text: bytes) -> Any:
    """Parses with a `BadNumber` in place of every literal that breaks rule 1. Raises `Unparsable`."""
    if _nesting(text) > PARSEABLE_DEPTH:
        raise Unparsable("too_deep", f"the JSON nests more than {PARSEABLE_DEPTH} deep; {ATTRIBUTES_MAX_DEPTH} is the limit")
    try:
        integer = _integer if _LONG_INTEGER.search(text) else int
        return json.loads(text.decode("utf-8"), parse_int=integer, parse_float=_double, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise Unparsable("invalid_json", f"the body is not UTF-8: byte {error.start} cannot be decoded") from error
    except json.JSONDecodeError as error:
        raise Unparsable(
            "invalid_json", f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error


def _nesting(text: bytes) -> int:
    if text.count(b"[") + text.count(b"{") <= PARSEABLE_DEPTH:
        return 0  # it cannot be too much, however much it is
    brackets = _STRING.sub(b"", text).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _no_number(_: str) -> BadNumber:
    return BAD_NUMBER


def _integer(literal: str) -> int | BadNumber:
    if len(literal) > 20:
        return BAD_NUMBER
    number = int(literal)
    return number if INTEGER_MIN <= number <= INTEGER_MAX else BAD_NUMBER


def _double(literal: str) -> float | BadNumber:
    number = float(literal)
    if number == 0.0:
        mantissa = literal.lower().partition("e")[0]
        return number if not mantissa.strip("-0.") else BAD_NUMBER
    return number if DOUBLE_MIN <= abs(number) <= DOUBLE_MAX else BAD_NUMBER
