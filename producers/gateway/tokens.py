"""What the gateway hands out and gets back: operation ids and cursors. Opaque, authenticated, bound to an organisation.

A token is base64url of a payload and 16 bytes of its keyed BLAKE2b (RFC 7693) under the secret that all gateways share: a
third of the time of OpenSSL's HMAC. What is malformed, forged or another organisation's reads as None.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from foldline.adapters.producer import Appended, PartitionEnd
from foldline.domain.records import KINDS, Kind

OPERATION_PREFIX: Final = "op_"
MAX_CHARACTERS: Final = 8192
_MAC_BYTES: Final = 16
_VERSION: Final = 1
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_SMALL: Final = [bytes((number,)) for number in range(0x80)]


class Operation(NamedTuple):
    """One accepted request: where it lies in the log, and the name that its events carry (32 hexadecimal digits)."""

    org_id: str
    kind: Kind
    request_id: str
    appended: Appended

    @property
    def accepted(self) -> int:
        return sum(end.records for end in self.appended.ends)


def operation_id(secret: bytes, operation: Operation) -> str:
    """The id of an operation: `op_[A-Za-z0-9_-]+`."""
    org_id, kind, request_id, (topic_id, ends) = operation
    head, topic = _head_and_topic(kind, topic_id)
    numbers = [_SMALL[number] if number < 0x80 else _varint(number) for end in ends for number in end]
    payload = b"".join((head, bytes.fromhex(request_id), topic, *numbers))
    return OPERATION_PREFIX + _sealed(secret, f"operation:{org_id}", payload)


@lru_cache(16)
def _head_and_topic(kind: Kind, topic_id: str) -> tuple[bytes, bytes]:
    encoded = topic_id.encode()
    return bytes((_VERSION, KINDS.index(kind))), bytes((len(encoded),)) + encoded


def read_operation_id(secret: bytes, org_id: str, text: str) -> Operation | None:
    """The operation that an organisation's id stands for."""
    if not text.startswith(OPERATION_PREFIX):
        return None
    payload = _opened(secret, f"operation:{org_id}", text.removeprefix(OPERATION_PREFIX))
    if payload is None or payload[0] != _VERSION:
        return None
    topic_end = 19 + payload[18]
    numbers = list(_varints(payload[topic_end:]))
    ends = tuple(PartitionEnd(*numbers[at : at + 3]) for at in range(0, len(numbers), 3))
    return Operation(org_id, KINDS[payload[1]], payload[2:18].hex(), Appended(payload[19:topic_end].decode(), ends))


def cursor(secret: bytes, org_id: str, kind: Kind, last_id: str) -> str:
    """Where a listing goes on: after that id."""
    return _sealed(secret, f"cursor:{kind}:{org_id}", last_id.encode())


def read_cursor(secret: bytes, org_id: str, kind: Kind, text: str) -> str | None:
    """The id after which a listing goes on."""
    payload = _opened(secret, f"cursor:{kind}:{org_id}", text)
    return None if payload is None else payload.decode()


def _sealed(secret: bytes, purpose: str, payload: bytes) -> str:
    encoded = b2a_base64(payload + _mac(secret, purpose, payload), newline=False)
    return encoded.translate(_URL_SAFE, b"=").decode()


def _opened(secret: bytes, purpose: str, text: str) -> bytes | None:
    if len(text) > MAX_CHARACTERS or not text.isascii():
        return None
    try:
        token = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    payload, mac = token[:-_MAC_BYTES], token[-_MAC_BYTES:]
    if not payload or not hmac.compare_digest(mac, _mac(secret, purpose, payload)):
        return None
    return payload if _sealed(secret, purpose, payload) == text else None  # base64 has other spellings of the same bytes


def _mac(secret: bytes, purpose: str, payload: bytes) -> bytes:
    return blake2b(f"{purpose}\n".encode() + payload, digest_size=_MAC_BYTES, key=secret).digest()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _varints(encoded: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in encoded:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
