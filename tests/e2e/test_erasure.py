"""Nothing remembers an erased user: neither the topics, nor a file of the broker, nor a page, a command or a log.

Every search here finds what it looks for where it must be: values of users who were not deleted, and of items.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import secrets
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from aiokafka.record.memory_records import MemoryRecords
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from tests.e2e.outside import DEAD_LETTERS, LOG, STATES, Json, Organisation, Stack, client, eventually

pytestmark = pytest.mark.server

LAG_SECONDS = 3
# The broker's cleaner looks every 15 s, and keeps the file of a segment that it has rewritten for 60 s.
COMPACTED_SECONDS = 120.0
RACE_SECONDS = float(os.environ.get("RACE_SECONDS", "20"))
RACES_A_SECOND, UNDISTURBED_SHARE = 2.0, 0.3


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose projection topics are compacted soon."""
    root = tmp_path_factory.mktemp("erasure")
    started = Stack(root / "data", FOLDLINE_STATE_COMPACTION_LAG_SECONDS=str(LAG_SECONDS))
    started.start()
    yield started
    started.close()


@pytest.fixture
def people(forgetful: Stack) -> Iterator[Organisation]:
    made = forgetful.organisation()
    with made.client:
        yield made


def secret_value(what: str) -> str:
    """A value that nothing else can have."""
    return f"{what}-{secrets.token_hex(12)}"


def found_in(data: bytes, values: Iterable[str]) -> set[str]:
    return {value for value in values if value.encode() in data}


def on_topic(stack: Stack, topic: str, values: set[str]) -> set[str]:
    """Which values a topic's records have, whatever became of the transactions that wrote them."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.kafka,
            "group.id": "searcher",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
            "log_level": 0,
        }
    )
    found: set[str] = set()
    try:
        left = {*consumer.list_topics(topic, timeout=10).topics[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
        deadline = time.monotonic() + 60
        while left:
            assert time.monotonic() < deadline, (topic, left)
            parts: list[bytes] = []
            for message in consumer.consume(1000, 0.2):
                if (error := message.error()) is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    left.discard(message.partition() or 0)
                    continue
                for part in (message.key(), message.value(), *(header for _, header in message.headers() or ())):
                    assert isinstance(part, bytes | None)
                    parts.append(part or b"")
            found |= found_in(b"\0".join(parts), values)
    finally:
        consumer.close()
    return found


def in_files(paths: Iterable[Path], values: set[str]) -> set[str]:
    """Which values stand in files as they are."""
    found: set[str] = set()
    for path in paths:
        try:
            found |= found_in(path.read_bytes(), values)
        except FileNotFoundError:  # the broker has removed it meanwhile
            continue
    return found


def in_segments(stack: Stack, topic: str, values: set[str]) -> set[str]:
    """Which values a topic's files have, compressed or not; also those files that the broker is about to remove."""
    found: set[str] = set()
    for path in (stack.directory / "kafka").glob(f"{topic}-*/*"):
        found |= in_files([path], values)
        if ".log" in path.suffixes:
            try:
                batches = MemoryRecords(path.read_bytes())
            except FileNotFoundError:
                continue
            while batches.has_next():
                for record in batches.next_batch():
                    for part in (record.key, record.value, *(header for _, header in record.headers)):
                        found |= found_in(part or b"", values)
    return found


def logs(stack: Stack) -> list[Path]:
    return [*stack.directory.glob("*.log"), *stack.directory.glob("**/*.log.[0-9]*"), stack.directory.with_suffix(".log")]


class Person(NamedTuple):
    """A user with one value that is in it alone."""

    user_id: str
    value: str

    @property
    def record(self) -> Json:
        return {"user_id": self.user_id, "attributes": {"email": self.value, "nested": {"again": [self.value]}}}


def persons(prefix: str, count: int) -> list[Person]:
    return [Person(f"{prefix}-{number}", secret_value(prefix)) for number in range(count)]


def values_of(people: Iterable[Person]) -> set[str]:
    return {person.value for person in people}


def delete(org: Organisation, people: Iterable[Person]) -> None:
    org.upsert("users", [{"user_id": person.user_id, "status": "deleted"} for person in people])


def write(stack: Stack, org: Organisation, root: Path) -> list[Person]:
    """Users by every way in."""
    single, array, zipped, imported = (persons(how, 12) for how in ("single", "array", "zipped", "imported"))
    for person in single:
        org.upsert("users", person.record, wait=False)
    org.upsert("users", [person.record for person in array])
    body = gzip.compress(json.dumps([person.record for person in zipped]).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert org.client.post("/v1/ingest/users/upsert", content=body, headers=headers).status_code == 202
    file = root / "users.csv"
    listed = (f"{person.user_id},active,2025-01-12T09:00:00Z,{person.value}\n" for person in imported)
    file.write_text("user_id,status,created_at,email\n" + "".join(listed))
    done = stack.foldline("import", "users", str(file), "--org", org.org_id, "--wait")
    assert done.returncode == 0, done.stderr
    return [*single, *array, *zipped, *imported]


def rows(stack: Stack) -> list[Any]:
    """Every record of the live generation, as canonical text."""
    found: list[Any] = []
    for kind, own in (("items", "item_type"), ("users", "created_at")):
        found += stack.sql(
            f"SELECT '{kind}', org_id, {kind[:-1]}_id, {own}::text, status, attributes::text, version, first_seen_at::text,"  # noqa: S608
            f' updated_at::text, partition, "offset" FROM foldline.known_{kind} ORDER BY 2, 3'
        )
    return found


def document(stack: Stack, *command: str) -> Any:
    done = stack.foldline(*command, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def said(stack: Stack, *command: str) -> bytes:
    done = stack.foldline(*command)
    assert done.returncode in (0, 1), done.stderr
    return (done.stdout + done.stderr).encode()


def tailed(stack: Stack, org: Organisation, until: str) -> bytes:
    """What `tail` shows of the topic from its start up to a text."""
    command = stack.program("tail", "users", "--from-start", "--org", org.org_id, "--json")
    with subprocess.Popen(command, env=stack._environment, stdout=subprocess.PIPE) as tailing:
        assert tailing.stdout
        lines = []
        for line in tailing.stdout:
            lines.append(line)
            if until.encode() in line:
                break
        tailing.kill()
    return b"".join(lines)


def signed_in(stack: Stack, name: str) -> tuple[Organisation, httpx.Client]:
    """An organisation, and a browser of its owner."""
    made = document(stack, "orgs", "create", name, "--owner", f"{secrets.token_hex(4)}@example.org")
    browser = httpx.Client(base_url=stack.url, trust_env=False, timeout=30, headers={"Origin": stack.url})
    answer = browser.post(made.pop("sign_in_link"))
    assert answer.status_code == 303, answer.text
    assert stack.foldline("orgs", "set", made["org_id"], "--rate-limit", "0").returncode == 0
    fields = {name: made[name] for name in ("org_id", "secret_key", "publishable_key")}
    return Organisation(**fields, client=client(stack.url, made["secret_key"])), browser


def test_nothing_remembers_an_erased_user(forgetful: Stack, tmp_path: Path) -> None:
    stack = forgetful
    org, browser = signed_in(stack, "Forgetful")
    item = secret_value("item")
    org.upsert("items", {"item_id": "P", "item_type": "p", "attributes": {"plain": item}})
    everybody = write(stack, org, tmp_path)
    stack.wait_published()
    erased, kept = everybody[::2], everybody[1::2]
    gone, back = values_of(erased), [Person(person.user_id, secret_value("back")) for person in erased[::3]]

    # No value of a user is ever in the log, and the search would find it there. The projection topic has them, for now.
    assert on_topic(stack, LOG["items"], {item}) == in_segments(stack, LOG["items"], {item}) == {item}
    assert on_topic(stack, STATES["users"], values_of(everybody)) == values_of(everybody)
    assert in_segments(stack, STATES["users"], values_of(everybody)) == values_of(everybody)
    known = said(stack, "history", "user", org.org_id, erased[0].user_id, "--json")
    assert found_in(known, gone) == {erased[0].value}

    delete(org, erased)
    org.upsert("users", [person.record | {"status": "active"} for person in back])
    stack.wait_published()

    living = values_of([*kept, *back])
    for topic in (LOG["users"], DEAD_LETTERS):
        assert on_topic(stack, topic, gone | living) == set()
        assert in_segments(stack, topic, gone | living) == set()

    # Neither a route nor a command nor a page.
    seen = b""
    for person in erased:
        seen += org.state("users", person.user_id).content
        page = browser.get(f"/users/{person.user_id}")
        assert page.status_code == 200
        seen += page.content
    seen += json.dumps(org.listing("users", include_deleted="true")).encode()
    for page in ("/users", f"/users?q={erased[0].user_id}", "/ingestion?kind=users", "/dead-letters"):
        seen += browser.get(page, follow_redirects=True).content
    for person in erased[::6]:
        seen += said(stack, "history", "user", org.org_id, person.user_id, "--json")
        for offset in [line["offset"] for line in lines(stack, "history", "user", org.org_id, person.user_id)]:
            seen += said(stack, "get", "user", org.org_id, person.user_id, "--as-of", str(offset), "--json")
    for person in kept[:2]:
        seen += org.state("users", person.user_id).content + browser.get(f"/users/{person.user_id}").content
    assert found_in(seen, gone) == set()
    assert found_in(seen, living) >= {person.value for person in kept[:2]}

    # After the compaction lag no file of the projection topic either.
    assert eventually(lambda: not on_topic(stack, STATES["users"], gone), COMPACTED_SECONDS, 1.0)
    assert on_topic(stack, STATES["users"], living) == living
    assert eventually(lambda: not in_segments(stack, STATES["users"], gone), COMPACTED_SECONDS, 1.0)
    org.upsert("users", {"user_id": "the-last", "attributes": {}})
    shown = tailed(stack, org, "the-last")
    assert found_in(shown, gone) == set()
    assert found_in(shown, living)
    everything = [path for path in stack.directory.rglob("*") if path.is_file() and "postgres" not in path.parts]
    assert in_files(everything, gone) == set()
    assert in_files(logs(stack), gone | living | {item}) == set()

    # A replay gives the same, and goes on doing so.
    verified = document(stack, "verify")
    assert verified["difference_count"] == 0
    assert verified["checksum"]["live"] == verified["checksum"]["replayed"]
    before = rows(stack)
    assert document(stack, "rebuild", "--swap")["difference_count"] == 0
    assert rows(stack) == before
    assert document(stack, "verify")["difference_count"] == 0
    assert in_files(logs(stack), gone | living) == set()


def lines(stack: Stack, *command: str) -> list[Json]:
    done = stack.foldline(*command, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def gateways(forgetful: Stack) -> Iterator[list[str]]:
    """The URLs of two gateways beside the stack's own."""
    started = [
        subprocess.Popen(
            forgetful.program("gateway", "--port", "0"), env=forgetful._environment, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    urls = []
    for gateway in started:
        assert gateway.stderr
        said = next(line for line in gateway.stderr if "gateway listens" in line)
        urls.append(f"http://127.0.0.1:{json.loads(said)['port']}")
        threading.Thread(target=gateway.stderr.read, daemon=True).start()
    yield urls
    for gateway in started:
        gateway.terminate()
    assert [gateway.wait(60) for gateway in started] == [0, 0]


class Sent(NamedTuple):
    """A request of one writer about one user. `value` is None for a deletion; `end` is infinite where it may come later."""

    user_id: str
    writer: int
    value: str | None
    status: int
    begin: float
    end: float


class Writer(threading.Thread):
    """Upserts and deletes users by one gateway, one request after the other, each upsert with a value of its own."""

    def __init__(self, number: int, url: str, org: Organisation, until: float) -> None:
        super().__init__()
        self._number, self._until = number, until
        self._client = client(url, org.secret_key)
        self._random = random.Random(number)
        self.sent: list[Sent] = []

    def run(self) -> None:
        # Everybody is busy with the same user, and goes on to the next one at the same time; deletions cease before that.
        while (now := time.monotonic()) < self._until:
            race, left = divmod((self._until - now) * RACES_A_SECOND, 1)
            user_id = f"raced-{int(race)}"
            deletes = left > UNDISTURBED_SHARE and self._random.random() < 0.3
            value = None if deletes else secret_value("raced")
            record: Json = {"user_id": user_id, "status": "deleted"}
            if value is not None:
                record = {"user_id": user_id, "status": "active", "attributes": {f"writer-{self._number}": value}}
            answer = self._client.post("/v1/ingest/users/upsert", json=record)
            assert answer.status_code in (202, 503), answer.text
            doubtful = answer.status_code == 503 and "may still appear" in answer.json()["message"]
            end = float("inf") if doubtful else time.monotonic()
            self.sent.append(Sent(user_id, self._number, value, answer.status_code, now, end))


def must_be_gone(sent: list[Sent]) -> set[str]:
    """The values of upserts that were over, one way or the other, before a deletion began that was acknowledged."""
    last = {
        one.user_id: one.begin for one in sorted(sent, key=lambda one: one.begin) if one.value is None and one.status == 202
    }
    return {
        one.value
        for number, one in enumerate(sent)
        if one.value is not None and over(sent, number) < last.get(one.user_id, 0.0)
    }


def over(sent: list[Sent], number: int) -> float:
    """When the answer to a request had come, by when the same writer sent the next one at the latest."""
    mine = [one.begin for one in sent[number + 1 :] if one.writer == sent[number].writer]
    return min([sent[number].end, *mine[:1]])


def must_be_there(sent: list[Sent]) -> dict[tuple[str, str], set[str]]:
    """By user and attribute, the values one of which it must have: the last acknowledged one and what was sent after it,
    where every deletion that may ever land was over before that began."""
    deleted: dict[str, float] = {}
    for one in sent:
        if one.value is None and (one.status == 202 or one.end == float("inf")):
            deleted[one.user_id] = max(deleted.get(one.user_id, 0.0), one.end)
    found: dict[tuple[str, str], set[str]] = {}
    living: dict[tuple[str, str], bool] = {}
    for one in sent:
        if one.value is None:
            continue
        name = one.user_id, f"writer-{one.writer}"
        if one.status == 202:
            found[name] = {one.value}
            living[name] = one.begin > deleted.get(one.user_id, 0.0)
        elif name in found:
            found[name].add(one.value)
    return {name: values for name, values in found.items() if living[name]}


def test_gateways_race_for_users(
    forgetful: Stack, people: Organisation, gateways: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stack, until = forgetful, time.monotonic() + RACE_SECONDS
    writers = [Writer(number, gateways[number % 2], people, until) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    sent = [one for writer in writers for one in writer.sent]
    gone, there = must_be_gone(sent), must_be_there(sent)
    answers = Counter((one.value is None, one.status) for one in sent)
    with capsys.disabled():
        print(f"\n{answers[False, 202]} upserts and {answers[True, 202]} deletions, {answers[False, 503]} and", end=" ")
        print(f"{answers[True, 503]} in doubt: {len(gone)} values gone, {len(there)} to be kept")
    assert len(gone) > 100
    assert len(there) > 50
    stack.wait_published()

    states = {state["user_id"]: state for state in people.listing("users", include_deleted="true", limit="1000")}
    readable = {value for state in states.values() for value in state["attributes"].values()}
    assert readable & gone == set()
    lost = {name: values for name, values in there.items() if states[name[0]]["attributes"].get(name[1]) not in values}
    assert lost == {}
    published = stack.assert_topics_equal_table(people.org_id)
    assert found_in(json.dumps([state["attributes"] for state in published.values()]).encode(), gone) == set()
    past = b"".join(said(stack, "history", "user", people.org_id, user_id, "--json") for user_id in sorted(states)[:5])
    assert found_in(past, gone) == set()
    everything = {one.value for one in sent if one.value is not None}
    assert on_topic(stack, LOG["users"], everything) == set()
    assert document(stack, "verify")["difference_count"] == 0
    before = rows(stack)
    assert document(stack, "rebuild", "--swap")["difference_count"] == 0
    assert rows(stack) == before


def stopped(process: psutil.Process) -> None:
    process.suspend()
    assert eventually(lambda: process.status() == psutil.STATUS_STOPPED, 10)


def stored(stack: Stack, generation: int, values: set[str]) -> set[str]:
    """Which values the users of a generation have."""
    query = f"SELECT attributes::text FROM gen_{generation}.users"  # noqa: S608
    return found_in(json.dumps(stack.sql(query)).encode(), values)


def test_an_erasure_while_a_generation_is_built(forgetful: Stack, people: Organisation) -> None:
    stack, somebody = forgetful, persons("built", 3000)
    people.upsert("users", [person.record for person in somebody])
    before = {one["generation"] for one in lines(stack, "generations", "list")}
    erased, kept = somebody[::2], somebody[1::2]
    with subprocess.Popen(stack.program("rebuild", "--json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as building:
        query = "SELECT generation FROM foldline_control.generations WHERE status = 'building'"
        assert eventually(lambda: bool(stack.sql(query)), 60, 0.01)
        ((generation,),) = stack.sql(query)
        assert generation not in before
        # It is stopped wherever it is, and goes on when its users are erased.
        stopped(psutil.Process(building.pid))
        delete(people, erased)
        building.send_signal(signal.SIGCONT)
        building.communicate(timeout=120)
        assert building.returncode == 0
    assert stored(stack, generation, values_of(erased)) == set()
    assert stored(stack, generation, values_of(kept)) == values_of(kept)
    assert stack.foldline("generations", "drop", str(generation)).returncode == 0
    live = document(stack, "status")["generation"]
    assert document(stack, "rebuild", "--swap")["difference_count"] == 0
    assert document(stack, "verify")["difference_count"] == 0
    assert stored(stack, live, values_of(somebody)) == values_of(kept)  # the old generation has been scrubbed, too


def test_an_erasure_of_a_built_generation_and_of_an_old_one(forgetful: Stack, people: Organisation) -> None:
    stack, somebody = forgetful, persons("old", 100)
    people.upsert("users", [person.record for person in somebody])
    swapped = document(stack, "rebuild", "--swap")
    built = document(stack, "rebuild")["generation"]
    generations = (swapped["replaced"], swapped["generation"], built)
    assert all(stored(stack, one, values_of(somebody)) == values_of(somebody) for one in generations)
    delete(people, somebody)
    assert [stored(stack, one, values_of(somebody)) for one in generations] == [set()] * 3
    assert stack.foldline("generations", "drop", str(built)).returncode == 0


def test_an_erasure_while_no_processor_runs(forgetful: Stack, people: Organisation) -> None:
    stack, somebody = forgetful, persons("waits", 20)
    people.upsert("users", [person.record for person in somebody])
    processors = stack.processes("process")
    for process in processors:
        stopped(process)
    try:
        records = [{"user_id": person.user_id, "status": "deleted"} for person in somebody]
        people.upsert("users", records, wait=False)
        back = [Person(person.user_id, secret_value("back")) for person in somebody[:5]]
        accepted = people.upsert("users", [person.record | {"status": "active"} for person in back], wait=False)
        assert stored(stack, document(stack, "status")["generation"], values_of(somebody)) == values_of(somebody)
    finally:
        for process in processors:
            process.resume()
    assert people.state("users", back[0].user_id, min_operation=accepted["operation_id"]).status_code == 200
    stack.wait_published()
    shown = json.dumps(people.listing("users", include_deleted="true")).encode()
    assert found_in(shown, values_of(somebody)) == set()
    assert found_in(shown, values_of(back)) == values_of(back)
    assert document(stack, "verify")["difference_count"] == 0


def test_an_erasure_while_the_same_users_are_imported(forgetful: Stack, people: Organisation, tmp_path: Path) -> None:
    stack, somebody = forgetful, persons("file", 20_000)
    raced = somebody[::400]
    people.upsert("users", [{"user_id": person.user_id, "attributes": {}} for person in raced])
    file = tmp_path / "users.csv"
    listed = (f"{person.user_id},active,2025-01-12T09:00:00Z,{person.value}\n" for person in somebody)
    file.write_text("user_id,status,created_at,email\n" + "".join(listed))
    command = stack.program("import", "users", str(file), "--org", people.org_id, "--json")
    deletions = 0
    with subprocess.Popen(command, env=stack._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as importing:
        while importing.poll() is None:
            person = raced[deletions % len(raced)]
            answer = people.client.post("/v1/ingest/users/upsert", json={"user_id": person.user_id, "status": "deleted"})
            assert answer.status_code in (202, 503), answer.text
            deletions += answer.status_code == 202
        importing.communicate()
    assert deletions > 10

    def ended() -> bool:
        query = "SELECT status, queued FROM foldline_control.imports WHERE org_id = %s"
        return stack.sql(query, people.org_id) == [("live", len(somebody))]

    # Where a deletion came in between the command may have left the rest to a gateway.
    assert eventually(ended, 180, 0.5), stack.sql("SELECT status, queued, failure FROM foldline_control.imports")
    states = {state["user_id"]: state for state in people.listing("users", include_deleted="true", limit="1000")}
    assert len(states) == len(somebody)
    # A row of the file came before the last deletion of its user, or after it, and then as a whole.
    gone = {user_id for user_id, state in states.items() if state["status"] == "deleted"}
    expected = {one.user_id: {} if one.user_id in gone else {"email": one.value} for one in somebody}
    assert {user_id: state["attributes"] for user_id, state in states.items()} == expected
    delete(people, raced)
    stack.wait_published()
    shown = json.dumps(people.listing("users", include_deleted="true", limit="1000")).encode()
    assert found_in(shown, values_of(raced)) == set()
    assert on_topic(stack, LOG["users"], values_of(raced)) == set()
    assert document(stack, "verify")["difference_count"] == 0
