"""`foldline erasures` and `foldline master-key` against a running stack, from outside."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.cli.test_commands import assert_ends, document, lines
from tests.e2e.outside import Organisation, Stack, data, eventually

pytestmark = pytest.mark.server

SECRET = "ada@example.com"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(tmp_path_factory.mktemp("erasures") / "data")
    started.start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def org(stack: Stack) -> Iterator[Organisation]:
    """An organisation with three users, of whom two are deleted."""
    made = stack.organisation()
    with made.client:
        made.upsert("users", [{"user_id": user, "attributes": {"mail": SECRET}} for user in ("ada", "bob", "eve")])
        made.upsert("users", {"user_id": "ada", "status": "deleted"})
        made.upsert("users", {"user_id": "bob", "status": "deleted"})
        yield made


def master_keys(stack: Stack) -> list[str]:
    return (stack.directory / "master.key").read_text().split()


def restart(stack: Stack, master_key: str | None) -> subprocess.CompletedProcess[str]:
    """What comes of `up` on the stopped stack with this text in place of its master key."""
    file = stack.directory / "master.key"
    if master_key is None:
        file.unlink()
    else:
        file.write_text(master_key)
    return stack.foldline("up")


def test_erasures_are_listed(stack: Stack, org: Organisation) -> None:
    listed = lines(stack.foldline("erasures", "list", "--org", org.org_id, "--json"))
    assert [row["user_id"] for row in listed] == ["bob", "ada"]
    assert list(listed[0]) == [
        "org_id", "user_id", "erased_at", "topic", "partition", "offset", "request_id", "keys", "publish_due"
    ]  # fmt: skip
    assert (listed[0]["keys"], listed[0]["topic"]) == (1, "users.upserts.v1")
    assert listed[0]["erased_at"] < listed[0]["publish_due"]
    assert lines(stack.foldline("erasures", "list", "--json")) == listed
    assert lines(stack.foldline("erasures", "list", "--limit", "1", "--json")) == listed[:1]
    assert lines(stack.foldline("erasures", "list", "--user", "ada", "--json")) == listed[1:]
    assert lines(stack.foldline("erasures", "list", "--org", "org_nobody", "--json")) == []
    shown = stack.foldline("erasures", "list")
    assert (shown.returncode, shown.stderr, "bob" in shown.stdout) == (0, "", True)
    assert stack.foldline("erasures", "list", "--limit", "0").returncode == 2


def test_an_erasure_is_proved(stack: Stack, org: Organisation) -> None:
    stack.wait_published()
    proof = document(stack.foldline("erasures", "prove", org.org_id, "ada", "--json"))
    assert (proof["holds"], proof["faults"], proof["status"]) == (True, [], "deleted")
    assert (proof["events"], proof["sealed"], proof["plain"], proof["readable"]) == (2, 1, 0, 0)
    assert (proof["keys_destroyed"], proof["keys_left"], proof["behind"]) == (1, 0, 0)
    shown = stack.foldline("erasures", "prove", org.org_id, "ada")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[-1] == "proof: holds"
    assert SECRET not in json.dumps(proof) + shown.stdout

    for whose in ((org.org_id, "eve"), (org.org_id, "nobody"), ("org_nobody", "ada"), (org.org_id, "x" * 300), ("ü", "ada")):
        assert_ends(stack.foldline("erasures", "prove", *whose), 1, "has not been erased")
    assert stack.foldline("erasures", "prove", org.org_id).returncode == 2


def test_what_is_left_of_a_user_is_said_in_a_sentence_each(stack: Stack, org: Organisation) -> None:
    plant = "UPDATE gen_1.users SET attributes = %s WHERE user_id = 'bob' AND org_id = %s"
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(plant.encode(), (json.dumps({"mail": SECRET}), org.org_id))
    for arguments in ((), ("--json",)):
        found = stack.foldline("erasures", "prove", org.org_id, "bob", *arguments)
        assert found.returncode == 1
        assert found.stderr == "foldline: the row of generation 1 has attributes that no event since the erasure carries\n"
        assert SECRET not in found.stdout
    assert json.loads(found.stdout)["unclean"] == [1]
    assert json.loads(found.stdout)["holds"] is False
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(plant.encode(), ("{}", org.org_id))
    assert stack.foldline("erasures", "prove", org.org_id, "bob").returncode == 0


def test_a_key_that_came_back_from_a_backup_is_found_and_a_swap_destroys_it(stack: Stack, org: Organisation) -> None:
    org.upsert("users", {"user_id": "zed", "attributes": {"mail": SECRET}})
    ((key_id, wrapped),) = stack.sql("SELECT key_id, wrapped FROM foldline_control.user_keys WHERE user_id = 'zed'")
    org.upsert("users", {"user_id": "zed", "status": "deleted"})
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(
            "UPDATE foldline_control.user_keys SET wrapped = %s, destroyed_at = NULL WHERE key_id = %s", (wrapped, key_id)
        )
    found = stack.foldline("erasures", "prove", org.org_id, "zed", "--json")
    assert (found.returncode, found.stderr.splitlines()) == (
        1,
        [
            "foldline: keys that the erasure should have destroyed are there: 1",
            "foldline: sealed attributes of before the erasure can be opened in the log: 1 event",
        ],
    )
    proof = json.loads(found.stdout)
    assert (proof["keys_left"], proof["readable"], proof["keys_destroyed"]) == (1, 1, 0)
    assert stack.foldline("rebuild", "--swap").returncode == 0
    assert document(stack.foldline("erasures", "prove", org.org_id, "zed", "--json"))["keys_destroyed"] == 1


def test_a_new_master_key(stack: Stack) -> None:
    made = subprocess.run(stack.program("master-key", "new")[:-2], capture_output=True, text=True, check=True)
    assert len(base64.b64decode(made.stdout.removesuffix("\n"), validate=True)) == 32
    assert made.stderr == ""
    as_json = subprocess.run(
        [*stack.program("master-key", "new")[:-2], "--json"], capture_output=True, text=True, check=True
    )
    other = json.loads(as_json.stdout)["master_key"]
    assert len(base64.b64decode(other, validate=True)) == 32
    assert other + "\n" != made.stdout


def test_the_master_key_is_rotated_while_users_are_written(stack: Stack, org: Organisation) -> None:
    (before,) = master_keys(stack)
    done = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not done.is_set() or len(written) < 20:
            name = f"writer {len(written)}"
            org.upsert(
                "users", [{"user_id": name, "attributes": {"n": name}}, {"user_id": "eve", "attributes": {"n": name}}]
            )
            written.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert eventually(lambda: len(written) > 3, 30)
        rotated = document(stack.foldline("master-key", "rotate", "--json"))
        after = len(written)
        assert eventually(lambda: len(written) > after + 3, 30)
    finally:
        done.set()
        writer.join()
    (now,) = master_keys(stack)
    assert now != before
    assert (stack.directory / "master.key").stat().st_mode & 0o777 == 0o600
    masters = stack.sql("SELECT DISTINCT encode(substr(wrapped, 1, 8), 'hex') FROM foldline_control.user_keys"
                        " WHERE wrapped IS NOT NULL")  # fmt: skip
    assert masters == [(rotated["master_key"],)]
    assert rotated["rewrapped"] > 0
    for name in written:
        assert data(org.state("users", name))["attributes"] == {"n": name}
    # A replay opens everything with the new key alone.
    assert document(stack.foldline("verify", "--json"))["difference_count"] == 0
    text = stack.foldline("settings").stdout + stack.foldline("settings", "--json").stdout
    assert now not in text
    assert before not in text


def test_a_master_key_of_the_environment_is_not_the_stacks(stack: Stack, org: Organisation) -> None:
    org.upsert("users", {"user_id": "ada", "status": "active", "attributes": {"n": 1}})
    variables = os.environ | {"FOLDLINE_MASTER_KEY": base64.b64encode(b"k" * 32).decode()}
    command = stack.program("erasures", "prove", org.org_id, "ada", "--json")
    proof = json.loads(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)
    assert (proof["holds"], proof["status"], proof["keys_living"]) == (True, "active", 1)


def test_a_rotation_that_is_killed_half_way_is_run_again(stack: Stack, org: Organisation) -> None:
    (before,) = master_keys(stack)
    with psycopg.connect(stack.database_url) as holder:
        holder.execute("SELECT FROM foldline_control.user_keys WHERE user_id = 'eve' FOR UPDATE")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        killed = subprocess.Popen(stack.program("master-key", "rotate"), text=True, **pipes)  # type: ignore[call-overload]
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%FOR NO KEY UPDATE%%'"
        )
        assert eventually(lambda: stack.sql(waiting) == [(1,)], 30)
        assert_ends(stack.foldline("master-key", "rotate"), 1, "another rotation")
        killed.kill()
        killed.communicate()
        between = master_keys(stack)
        assert between[1:] == [before]
    org.upsert("users", [{"user_id": "between", "attributes": {"n": 1}}, {"user_id": "eve", "attributes": {"n": 2}}])
    stack.stop()
    stack.start()
    org.client.base_url = stack.url
    org.upsert("users", {"user_id": "eve", "attributes": {"m": 3}})
    assert eventually(lambda: stack.sql(waiting) == [(0,)], 30)
    again = stack.foldline("master-key", "rotate")
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.startswith("1 keys were wrapped anew")
    assert master_keys(stack) == between[:1]
    assert data(org.state("users", "eve"))["attributes"]["m"] == 3
    assert document(stack.foldline("verify", "--json"))["difference_count"] == 0


def test_a_stack_without_its_master_key_does_not_start(stack: Stack, org: Organisation) -> None:
    (key,) = master_keys(stack)
    stack.stop()
    other = base64.b64encode(b"k" * 32).decode()
    for wrong, words in ((None, "restore it"), (other, "belongs to this database"), ("nonsense", "32 bytes in base64")):
        found = restart(stack, wrong)
        assert (found.returncode, found.stdout) == (2, ""), found
        assert words in found.stderr
        assert "Traceback" not in found.stderr
        assert key not in found.stderr
    (stack.directory / "master.key").write_text(key)
    stack.start()
    org.client.base_url = stack.url
    assert "m" in data(org.state("users", "eve"))["attributes"]
