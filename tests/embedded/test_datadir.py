"""One stack at a time on a data directory; ports that stay."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from foldline.embedded.datadir import Stack, data_directory, held, holder, running_stack, write_stack
from foldline.embedded.errors import EmbeddedError
from foldline.embedded.ports import Ports, is_free
from foldline.embedded.processes import Identity, identify

HOLDER = """
import signal, sys
from pathlib import Path
from foldline.embedded.datadir import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def stack(up: Identity) -> Stack:
    return Stack(
        up=up,
        url="http://127.0.0.1:18080",
        kafka="127.0.0.1:19092",
        database_url="postgresql://foldline:secret@127.0.0.1:15432/foldline",
        environment={"FOLDLINE_PARTITIONS": "4"},
        parts={"kafka": Identity(12, "boot/34")},
    )


def test_only_one_stack_holds_a_directory(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        assert holder(root) == identify(other.pid)
        with pytest.raises(EmbeddedError, match=f"a stack is running on {root} already"), held(root):
            pass
        other.kill()
    assert holder(root) is None
    with held(root):
        assert holder(root) == identify(os.getpid())
    assert holder(root) is None


def test_the_directory_is_private_and_may_hold_other_files(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with held(root):
        assert root.stat().st_mode & 0o777 == 0o700
        (root / "notes.txt").write_text("mine")
    with held(root):
        assert (root / "notes.txt").read_text() == "mine"


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="cannot be the data directory"), held(tmp_path / "file"):
        pass


def test_a_stack_is_found_while_its_up_is_alive(tmp_path: Path) -> None:
    assert running_stack(tmp_path) is None
    me = identify(os.getpid())
    assert me
    write_stack(tmp_path, stack(me))
    assert running_stack(tmp_path) == stack(me)
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600

    write_stack(tmp_path, stack(Identity(me.pid, "an earlier boot/7")))
    assert running_stack(tmp_path) is None


def test_the_directory_is_the_one_given_else_the_variable_else_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOLDLINE_DATA_DIR", raising=False)
    assert data_directory() == tmp_path / ".foldline"
    monkeypatch.setenv("FOLDLINE_DATA_DIR", "named")
    assert data_directory() == tmp_path / "named"
    assert data_directory(Path("given")) == tmp_path / "given"


def test_a_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    port = Ports(file).get("kafka")
    assert Ports(file).get("kafka") == port
    assert Ports(file).get("postgres") != port

    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        other = Ports(file).get("kafka")
        assert other != port
    assert json.loads(file.read_text())["kafka"] == other


def test_a_foreign_address_is_an_error() -> None:
    with pytest.raises(EmbeddedError, match=r"192\.0\.2\.1 is not an address of this machine"):
        is_free(18080, "192.0.2.1")
