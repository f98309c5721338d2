"""Avro's binary encoding of upserts and states, written out. A general encoder looks at the schema for every value, and for
the branch of each union; this takes a fifth of its time for upserts, half for states and for decoding upserts. Tests hold it
to fastavro, byte by byte; what the decoder does not take is fastavro's to judge.

Source: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Final

from foldline.domain.idempotency import ID_BYTES
from foldline.domain.records import Kind, State, Upsert

NULL: Final = b"\x00"  # the first branch of a union
PRESENT: Final = b"\x02"  # the second


def encode_long(number: int) -> bytes:
    """A long: zigzag, then seven bits a byte, the lowest first."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    if 0x1FFFFFFFFFFFF < rest < 0x100000000000000:  # microseconds since 1970, from 1978 to 3111: eight bytes
        rest = (rest & 0xFFFFFFF) | (rest & 0xFFFFFFF0000000) << 4
        rest = (rest & 0x3FFF00003FFF) | (rest & 0xFFFC0000FFFC000) << 2
        rest = (rest & 0x7F007F007F007F) | (rest & 0x3F803F803F803F80) << 1
        return (rest | 0x80808080808080).to_bytes(8, "little")
    if 0x3FFF < rest < 0x200000:
        return bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14))
    if 0x1FFFFF < rest < 0x10000000:
        return bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14 & 0x7F | 0x80, rest >> 21))
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


_SHORT: Final = tuple(encode_long(number) for number in range(16_384))
_SHORT_PRESENT: Final = tuple(PRESENT + length for length in _SHORT[:1024])


def encode_string(text: str) -> bytes:
    """A string: its length in bytes as a long, then UTF-8."""
    raw = text.encode()
    return (_SHORT[len(raw)] if len(raw) < 16_384 else encode_long(len(raw))) + raw


def _optional_string(text: str | None) -> bytes:
    if text is None:
        return NULL
    raw = text.encode()
    return (_SHORT_PRESENT[len(raw)] if len(raw) < 1024 else PRESENT + encode_long(len(raw))) + raw


def _optional_bytes(raw: bytes | None) -> bytes:
    return NULL if raw is None else PRESENT + _long(len(raw)) + raw


def _optional_long(number: int | None) -> bytes:
    return NULL if number is None else PRESENT + encode_long(number)


def _long(number: int) -> bytes:
    return _SHORT[number] if 0 <= number < 16_384 else encode_long(number)


_optional_word: Final = lru_cache(1024)(_optional_string)  # for texts of which there are few
_DETAIL: Final[dict[Kind, Callable[[Any], bytes]]] = {"items": _optional_word, "users": _optional_long}
_STATE_DETAIL: Final[dict[Kind, Callable[[Any], bytes]]] = {"items": encode_string, "users": encode_long}


def upsert_encoder(kind: Kind, prefix: bytes) -> Callable[[Upsert], bytes]:
    """An encoder of upserts of one kind; what it makes begins with `prefix`.

    The fields that the events of a request share are encoded once, as long as they come one after the other.
    """
    detail_of, is_sealed = _DETAIL[kind], kind == "users"
    shared_org, shared_time, shared_request = "", -1, ""
    head = stamp = b""

    def encode(event: Upsert) -> bytes:
        nonlocal shared_org, shared_time, shared_request, head, stamp
        org_id, entity_id, detail, status, attributes, received_at, request_id, record_index, idempotency_id, sealed = event
        if request_id != shared_request or received_at != shared_time or org_id != shared_org:
            shared_org, shared_time, shared_request = org_id, received_at, request_id
            head = prefix + encode_string(org_id)
            stamp = encode_long(received_at) + encode_string(request_id)
        raw_id = entity_id.encode()
        text, length = b"", NULL
        if attributes is not None:
            text = attributes.encode()
            length = _SHORT_PRESENT[len(text)] if len(text) < 1024 else PRESENT + encode_long(len(text))
        return b"".join(
            (
                head,
                _SHORT[len(raw_id)] if len(raw_id) < 16_384 else encode_long(len(raw_id)),
                raw_id,
                detail_of(detail),
                _optional_word(status),
                length,
                text,
                stamp,
                _long(record_index),
                _optional_bytes(sealed) if is_sealed else b"",
                NULL if idempotency_id is None else PRESENT + idempotency_id,
            )
        )

    return encode


def state_encoder(kind: Kind, prefix: bytes) -> Callable[[State, str, int], bytes]:
    """An encoder of states of one kind, of the JSON text of their attributes and of a generation."""
    detail_of = _STATE_DETAIL[kind]
    last_org, head = "", prefix + encode_string("")

    def encode(state: State, attributes: str, generation: int) -> bytes:
        nonlocal last_org, head
        org_id, entity_id, detail, status, _, version, first_seen_at, updated_at, partition, offset, _, _, _ = state
        if org_id != last_org:
            last_org, head = org_id, prefix + encode_string(org_id)
        raw_id, raw = entity_id.encode(), attributes.encode()
        return b"".join(
            (
                head,
                _SHORT[len(raw_id)],
                raw_id,
                detail_of(detail),
                encode_string(status),
                _SHORT[len(raw)] if len(raw) < 16_384 else encode_long(len(raw)),
                raw,
                _long(version),
                encode_long(first_seen_at),
                encode_long(updated_at),
                _long(generation),
                _long(partition),
                _long(offset),
            )
        )

    return encode


def decode_long(value: bytes, place: int) -> tuple[int, int]:
    """The long at a place, and the place after it. Raises `IndexError` or `ValueError` for what is none of 64 bits."""
    byte = value[place]
    place += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), place
    rest, shift = byte & 0x7F, 7
    while True:
        byte = value[place]
        place += 1
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:  # at once: what strangers write may go on for megabytes
            break
    if byte >= 0x80 or rest >> 64:
        raise ValueError("a long has 64 bits")
    return (rest >> 1) ^ -(rest & 1), place


def decode_string(value: bytes, place: int) -> tuple[str, int]:
    """The string at a place, and the place after it, which lies behind the value's end where the string is cut."""
    length = value[place]
    if length & 0x81:
        length, place = decode_long(value, place)
        if length < 0:
            raise ValueError("a string is not shorter than nothing")
    else:
        length >>= 1
        place += 1
    end = place + length
    return value[place:end].decode(), end


def decode_bytes(value: bytes, place: int) -> tuple[bytes, int]:
    """The bytes at a place, and the place after them, which lies behind the value's end where they are cut."""
    length, place = decode_long(value, place)
    if length < 0:
        raise ValueError("bytes are not shorter than nothing")
    return value[place : place + length], place + length


def _decode_optional(of: Callable[[bytes, int], tuple[Any, int]]) -> Callable[[bytes, int], tuple[Any, int]]:
    def decode(value: bytes, place: int) -> tuple[Any, int]:
        branch = value[place]
        if branch == 2:
            return of(value, place + 1)
        if branch:
            raise ValueError("a union of two has no such branch")
        return None, place + 1

    return decode


_decode_optional_string = _decode_optional(decode_string)
_decode_optional_bytes = _decode_optional(decode_bytes)
_DECODE_DETAIL: Final = {"items": _decode_optional_string, "users": _decode_optional(decode_long)}


def upsert_decoder(kind: Kind, prefix_bytes: int, has_id: bool) -> Callable[[bytes], Upsert]:
    """A decoder of upserts of one kind under the newest schema, or under the one before, which has no idempotency ids. Their
    values begin with so many bytes of prefix.

    Raises `IndexError` or `ValueError` for what is not such a value to its last byte.
    """
    decode_detail, has_seal = _DECODE_DETAIL[kind], kind == "users"
    make: Callable[[Any], Upsert] = partial(tuple.__new__, Upsert)

    def decode(value: bytes) -> Upsert:
        # `decode_string` and `decode_long` are written out for lengths of one byte and times of eight: half of the time.
        length = value[prefix_bytes]
        start = prefix_bytes + 1
        if length & 0x81:
            org_id, place = decode_string(value, prefix_bytes)
        else:
            place = start + (length >> 1)
            org_id = value[start:place].decode()
        length = value[place]
        if length & 0x81:
            entity_id, place = decode_string(value, place)
        else:
            start, place = place + 1, place + 1 + (length >> 1)
            entity_id = value[start:place].decode()
        if value[place]:
            detail, place = decode_detail(value, place)
        else:
            detail, place = None, place + 1
        if value[place]:
            status, place = _decode_optional_string(value, place)
        else:
            status, place = None, place + 1
        if value[place] == 2 and value[place + 1] & 0x81 == 0x80 and value[place + 2] < 0x80:  # from 64 to 8191 bytes
            start = place + 3
            place = start + ((value[place + 1] & 0x7F | value[place + 2] << 7) >> 1)
            attributes = value[start:place].decode()
        else:
            attributes, place = _decode_optional_string(value, place)
        stamp = int.from_bytes(value[place : place + 8], "little")
        if stamp & 0x8080808080808080 == 0x80808080808080:
            stamp = (stamp & 0x7F007F007F007F) | (stamp & 0x7F007F007F007F00) >> 1
            stamp = (stamp & 0x3FFF00003FFF) | (stamp & 0x3FFF00003FFF0000) >> 2
            stamp = (stamp & 0xFFFFFFF) | (stamp & 0xFFFFFFF00000000) >> 4
            received_at = (stamp >> 1) ^ -(stamp & 1)
            place += 8
        else:
            received_at, place = decode_long(value, place)
        length = value[place]
        if length & 0x81:
            request_id, place = decode_string(value, place)
        else:
            start, place = place + 1, place + 1 + (length >> 1)
            request_id = value[start:place].decode()
        record_index, place = decode_long(value, place)
        sealed, place = _decode_optional_bytes(value, place) if has_seal else (None, place)
        idempotency_id = None
        if has_id:
            branch = value[place]
            place += 1
            if branch:
                if branch != 2:
                    raise ValueError("a union of two has no such branch")
                idempotency_id = value[place : place + ID_BYTES]
                place += ID_BYTES
        if place != len(value) or record_index >> 31 not in (0, -1):
            raise ValueError("the value does not end where its last field does, or that is no int")
        return make(
            (org_id, entity_id, detail, status, attributes, received_at, request_id, record_index, idempotency_id, sealed)
        )

    return decode
