"""Records into the bodies of requests: as many to each as the gateway takes, by the size that they have encoded. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from foldline.client.errors import BadRecord


class Limits(NamedTuple):
    """What one request may have. The size is that of the JSON, whether or not it is sent compressed."""

    records: int = 10_000
    bytes: int = 1024 * 1024


class Batch(NamedTuple):
    """The body of one request. `first` is the place of its first record among all."""

    first: int
    records: int
    body: bytes


def batches(records: Iterable[Mapping[str, Any]], limits: Limits = Limits()) -> Iterator[Batch]:  # noqa: B008 (immutable)
    """The records in their order, in as few arrays as the limits allow, one at a time as they are asked for.

    Raises `BadRecord`, after the batch before it.
    """
    first = index = 0
    encoded: list[bytes] = []
    size = 1  # of the body: a bracket, and after each record a comma or the other one
    for index, record in enumerate(records):
        try:
            one = encode(record)
            if len(one) + 2 > limits.bytes:
                raise ValueError(f"it takes {len(one)} bytes, and a request may have {limits.bytes}")
        except ValueError as error:
            if encoded:
                yield _batch(first, encoded)
            raise BadRecord(index, str(error)) from error
        if encoded and (len(encoded) == limits.records or size + 1 + len(one) > limits.bytes):
            yield _batch(first, encoded)
            first, encoded, size = index, [], 1
        encoded.append(one)
        size += 1 + len(one)
    if encoded:
        yield _batch(first, encoded)


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as compact JSON in UTF-8. Raises `ValueError` where it is none."""
    try:
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_encoded)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return text.encode()


def _encoded(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no offset from UTC")
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


def _batch(first: int, encoded: list[bytes]) -> Batch:
    return Batch(first, len(encoded), b"[" + b",".join(encoded) + b"]")
