"""How a record finds its partition: the message key `org_id:entity_id`, and Kafka's murmur2 as Java clients compute it.

Source of the hash: `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.
"""

from __future__ import annotations

import unicodedata
from struct import unpack_from

from foldline.domain.records import ID_MAX_CHARACTERS

_MASK = 0xFFFFFFFF


def message_key(org_id: str, entity_id: str) -> bytes:
    """The key of a record on every topic. Organisation ids have no colon, so the first one separates."""
    return f"{org_id}:{entity_id}".encode()


def split_key(key: bytes) -> tuple[str, str] | None:
    """The organisation and the id of a message key, or None for what cannot be one."""
    try:
        org_id, colon, entity_id = key.decode().partition(":")
    except UnicodeDecodeError:
        return None
    return (org_id, entity_id) if colon and "\x00" not in entity_id and "\x00" not in org_id else None


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that a Java producer would choose for this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2, seed 0x9747b28c, unsigned."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for k in unpack_from(f"<{length >> 2}I", data):
        k = (k * 0x5BD1E995) & _MASK
        k = ((k ^ (k >> 24)) * 0x5BD1E995) & _MASK
        h = ((h * 0x5BD1E995) & _MASK) ^ k
    rest = length - whole
    if rest:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * 0x5BD1E995) & _MASK
    h = ((h ^ (h >> 13)) * 0x5BD1E995) & _MASK
    return h ^ (h >> 15)


def id_fault(entity_id: str) -> tuple[str, str] | None:
    """The contract's code and a sentence where an id does not hold (1 to 256 characters, no category Cc), else None."""
    if not entity_id:
        return "invalid_id", "an id has at least one character"
    if len(entity_id) > ID_MAX_CHARACTERS:
        return "too_long", f"an id has at most {ID_MAX_CHARACTERS} characters, this one {len(entity_id)}"
    if entity_id.isascii() and entity_id.isprintable():
        return None
    for place, character in enumerate(entity_id):
        category = unicodedata.category(character)
        if category == "Cc":
            return "invalid_id", f"an id has no control characters; character {place + 1} is U+{ord(character):04X}"
        if category == "Cs":
            return "invalid_string", f"character {place + 1} of the id is an unpaired surrogate"
    return None
