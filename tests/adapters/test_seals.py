"""Seals: what they keep, where they open, and what they say of a master key that is missing or another one."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from foldline.adapters.seals import (
    SEAL_MIN_BYTES,
    MasterKey,
    MasterKeys,
    given_here,
    new_data_key,
    new_master_key,
    opened,
    seal_key,
    sealed,
)
from foldline.domain.errors import FoldlineError, MasterKeyMissing
from foldline.domain.records import Upsert
from foldline.settings import Settings

IDS = b"i" * 32
KEY = new_data_key(IDS, "org_1", "u")
KEY_ID, SECRET = KEY
EVENT = Upsert("org_1", "u", None, "active", '{"email":"ada@example.com"}', 1, "req_1", 0)


@given(st.text())
def test_what_is_sealed_opens_in_its_event_and_is_nowhere_to_be_read(text: str) -> None:
    event = EVENT._replace(attributes=text)
    closed = sealed(event, KEY)
    assert closed.attributes is None
    assert closed.sealed is not None
    assert len(text) < 8 or text.encode() not in closed.sealed
    assert seal_key(closed) == KEY_ID
    assert opened(closed, KEY.secret)._replace(sealed=None) == event


def test_the_same_attributes_are_never_sealed_the_same() -> None:
    assert len({sealed(EVENT, KEY).sealed for _ in range(100)}) == 100


def test_an_event_without_attributes_has_no_seal() -> None:
    assert sealed(EVENT._replace(attributes=None), KEY) == EVENT._replace(attributes=None)
    assert opened(EVENT, None) == EVENT


@pytest.mark.parametrize(
    "changed", [{"org_id": "org_2"}, {"entity_id": "v"}, {"request_id": "req_2"}, {"record_index": 1}], ids=str
)
def test_a_seal_opens_in_no_other_event(changed: dict[str, object]) -> None:
    assert opened(sealed(EVENT, KEY)._replace(**changed), KEY.secret).attributes is None


def test_a_seal_that_was_changed_or_has_another_key_does_not_open() -> None:
    seal = sealed(EVENT, KEY).sealed
    assert seal is not None
    for place in range(16, len(seal)):
        broken = EVENT._replace(sealed=seal[:place] + bytes((seal[place] ^ 1,)) + seal[place + 1 :])
        assert opened(broken, KEY.secret).attributes is None
    for length in range(len(seal)):
        assert opened(EVENT._replace(sealed=seal[:length]), KEY.secret).attributes is None
    assert opened(EVENT._replace(sealed=seal), b"o" * 32).attributes is None
    assert opened(EVENT._replace(sealed=seal), None).attributes is None
    assert seal_key(EVENT._replace(sealed=seal[: SEAL_MIN_BYTES - 1])) is None


def test_an_id_says_by_itself_whether_it_was_given_here() -> None:
    assert given_here(IDS, KEY_ID, "org_1", "u")
    assert not given_here(IDS, KEY_ID, "org_1", "v")
    assert not given_here(IDS, KEY_ID, "org_2", "u")
    assert not given_here(b"j" * 32, KEY_ID, "org_1", "u")
    assert not given_here(IDS, bytes(16), "org_1", "u")


def keys(*texts: str) -> MasterKeys:
    return MasterKeys(Settings(master_key=SecretStr(",".join(texts))))


def test_a_master_key_wraps_and_every_one_that_is_given_unwraps() -> None:
    old, new = new_master_key(), new_master_key()
    wrapped = keys(old).current.wrap(KEY_ID, SECRET)
    assert SECRET not in wrapped
    assert keys(old).unwrap(KEY_ID, wrapped) == SECRET
    assert keys(new, old).unwrap(KEY_ID, wrapped) == SECRET
    assert keys(new, old).current.fingerprint == MasterKey(new).fingerprint
    with pytest.raises(MasterKeyMissing, match=MasterKey(old).fingerprint.hex()) as error:
        keys(new).unwrap(KEY_ID, wrapped)
    assert old not in str(error.value)
    assert new not in str(error.value)
    with pytest.raises(FoldlineError, match="damaged"):
        keys(old).unwrap(b"another", wrapped)
    with pytest.raises(FoldlineError, match="damaged"):
        keys(old).unwrap(KEY_ID, wrapped[:-1])


def test_a_file_is_read_again_for_a_master_key_that_is_new(tmp_path: Path) -> None:
    old, new, path = new_master_key(), new_master_key(), tmp_path / "key"
    path.write_text(old + "\n")
    reader = MasterKeys(Settings(master_key_file=str(path)))
    wrapped = MasterKey(new).wrap(KEY_ID, SECRET)
    with pytest.raises(MasterKeyMissing):
        reader.unwrap(KEY_ID, wrapped)
    path.write_text(f"{new}\n{old}\n")
    assert reader.unwrap(KEY_ID, wrapped) == SECRET
    assert reader.current.fingerprint == MasterKey(new).fingerprint


@pytest.mark.parametrize("text", ["", "x", "é", base64.b64encode(b"k" * 31).decode(), base64.b64encode(b"k" * 33).decode()])
def test_what_is_no_master_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(MasterKeyMissing, match="master-key new") as error:
        keys(text)
    assert len(text) < 8 or text not in str(error.value)


def test_a_missing_master_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyMissing, match="Set FOLDLINE_MASTER_KEY"):
        MasterKeys(Settings(master_key=None, master_key_file=None))
    with pytest.raises(MasterKeyMissing, match=r"cannot be read from .*nowhere"):
        MasterKeys(Settings(master_key_file=str(tmp_path / "nowhere")))
