"""What uses the stack while it breaks, and what it was promised.

Every upsert of a record adds one attribute and moves a counter, so a record's attributes say which of them were folded, and
its version how often. A writer with an `Idempotency-Key` sends again until it is answered, sometimes when it was answered
already; one without leaves a record alone once nobody knows whether its upsert will appear.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import KafkaError, Message, Producer

from tests.chaos.cluster import Cluster, wait
from tests.chaos.patience import patient
from tests.e2e.outside import ID, LOG, Json, client, data, path_of

UPSERTS_A_RECORD = 8
ARRAY_RECORDS = 50
IMPORT_ROWS = 400
TIMEOUT_SECONDS = 20.0
COMMAND_SECONDS = 240.0
PAUSE_SECONDS = 0.2
END_SECONDS = 60.0
HEALED_SECONDS = 150.0
# What a request may be told. An answer that is missing is counted by the name of what came instead.
ANSWERS = {200, 202, 404, 408, 409, 503}

Entity = tuple[str, str]  # kind and id


@dataclass
class Promise:
    """What a record was promised: so many upserts, the last of them last; perhaps so many more; whether it is deleted."""

    acknowledged: int = 0
    perhaps: int = 0
    deleted: bool = False
    perhaps_deleted: bool = False

    def broken(self, state: Json | None) -> str | None:
        """How a state breaks it."""
        version = 0 if state is None else state["version"]
        if not self.acknowledged <= version <= self.acknowledged + self.perhaps:
            return f"{self.acknowledged} upserts were acknowledged, {self.perhaps} perhaps, {version} were folded"
        if state is None:
            return None
        deleted = state["status"] == "deleted"
        if deleted != self.deleted and not (deleted and self.perhaps_deleted):
            return f"it is {state['status']}"
        expected: Json = {} if deleted else {f"u{n}": True for n in range(version)} | {"last": version - 1}
        return None if state["attributes"] == expected else f"after {version} upserts it has {state['attributes']}"


@dataclass
class Told:
    """What all of the work was told and promised. Every writer has records of its own."""

    promises: dict[Entity, Promise] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seen: dict[Entity, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, message: str) -> None:
        with self.lock:
            self.failures.append(message)

    def count(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.done[what] += number


class Caller:
    """Sends requests as one organisation to either gateway, and notes the answers."""

    def __init__(self, cluster: Cluster, key: str, told: Told, dice: random.Random) -> None:
        self._told, self._dice = told, dice
        self._clients = [client(url, key) for url in cluster.urls]
        for one in self._clients:
            one.timeout = httpx.Timeout(TIMEOUT_SECONDS)

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response | None:
        """The answer, or None."""
        try:
            answer = self._dice.choice(self._clients).request(method, path, **how)
        except httpx.HTTPError as error:
            name = type(error).__name__
            with self._told.lock:
                self._told.answers[name] += 1
            return None
        with self._told.lock:
            self._told.answers[str(answer.status_code)] += 1
        if answer.status_code not in ANSWERS:
            self._told.fail(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
        return answer

    def upsert(self, kind: str, records: Json | list[Json], key: str | None = None) -> Json | None:
        """What an accepted upsert was told."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = self.ask("POST", f"/v1/ingest/{kind}/upsert", json=records, headers=headers)
        return data(answer) if answer is not None and answer.status_code == 202 else None

    def close(self) -> None:
        for one in self._clients:
            one.close()


class Work:
    """The threads of it, from `start` to `stop`."""

    def __init__(self, cluster: Cluster, seed: int, root: Path) -> None:
        """Makes the organisations. The stack is to be ready."""
        self._cluster, self._seed, self._root = cluster, seed, root
        self.told = Told()
        self.org_id, self._key = self._organisation("Chaos")
        _, self._probers_key = self._organisation("Prober")
        self._stopping = threading.Event()
        self.healthy_since = 0.0
        """When the last write began that was applied."""
        jobs: list[Callable[[int], None]] = [
            *[self._write_singly] * 3, self._write_arrays, self._erase, self._read, self._import, self._rebuild,
            self._poison, self._probe,
        ]  # fmt: skip
        self._threads = [
            threading.Thread(target=self._guarded, args=(job, number), name=job.__name__, daemon=True)
            for number, job in enumerate(jobs)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the work; what was not answered by then is a perhaps."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(patient(COMMAND_SECONDS))
            if thread.is_alive():
                self.told.fail(f"{thread.name} does not end")

    def is_healthy(self, since: float) -> bool:
        return self.healthy_since > since

    def _guarded(self, job: Callable[[int], None], number: int) -> None:
        try:
            job(number)
        except Exception as error:
            self.told.fail(f"{job.__name__}: {type(error).__name__}: {error}")

    def _organisation(self, name: str) -> tuple[str, str]:
        made = json.loads(self._run("orgs", "create", name, "--json").stdout)
        self._run("orgs", "set", made["org_id"], "--rate-limit", "0")
        return made["org_id"], made["secret_key"]

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._cluster.foldline(*arguments),
            env=self._cluster.environment, capture_output=True, text=True, check=True,
            timeout=patient(COMMAND_SECONDS),
        )  # fmt: skip

    def _caller(self, number: int) -> tuple[Caller, random.Random]:
        dice = random.Random(f"{self._seed}-{number}")
        return Caller(self._cluster, self._key, self.told, dice), dice

    def _promise(self, kind: str, entity_id: str) -> Promise:
        return self.told.promises.setdefault((kind, entity_id), Promise())

    # Writers

    def _write_singly(self, number: int) -> None:
        """Every other record with keys."""
        caller, dice = self._caller(number)
        record = 0
        while not self._stopping.is_set():
            entity_id = f"single-{number}-{record}"
            kind = dice.choice(list(LOG))
            for upsert in range(UPSERTS_A_RECORD):
                key = f"{entity_id}-{upsert}" if record % 2 else None
                if not self._sent(caller, dice, kind, [entity_id], upsert, key) or self._stopping.is_set():
                    break
            record += 1
        caller.close()

    def _write_arrays(self, number: int) -> None:
        caller, dice = self._caller(number)
        record = 0
        while not self._stopping.is_set():
            ids = [f"array-{number}-{record}-{place}" for place in range(ARRAY_RECORDS)]
            kind = dice.choice(list(LOG))
            for upsert in range(UPSERTS_A_RECORD):
                key = f"{ids[0]}-{upsert}" if record % 2 else None
                if not self._sent(caller, dice, kind, ids, upsert, key) or self._stopping.is_set():
                    break
            record += 1
        caller.close()

    def _erase(self, number: int) -> None:
        """Writes users and deletes them."""
        caller, dice = self._caller(number)
        record = 0
        while not self._stopping.is_set():
            user = f"erased-{number}-{record}"
            wanted = dice.randrange(1, UPSERTS_A_RECORD)
            if all(self._sent(caller, dice, "users", [user], upsert, f"{user}-{upsert}") for upsert in range(wanted)):
                self._delete(caller, dice, user)
            record += 1
        caller.close()

    def _sent(
        self, caller: Caller, dice: random.Random, kind: str, ids: Sequence[str], upsert: int, key: str | None
    ) -> bool:
        """Sends an upsert of each of these records; whether it was acknowledged."""
        more = {"item_type": "p"} if kind == "items" else {}
        records = [{ID[kind]: one, "attributes": {f"u{upsert}": True, "last": upsert}} | more for one in ids]
        promises = [self._promise(kind, one) for one in ids]
        for promise in promises:
            promise.perhaps = 1
        if not self._acknowledged(caller, dice, kind, records if len(ids) > 1 else records[0], key):
            return False
        for promise in promises:
            promise.acknowledged, promise.perhaps = promise.acknowledged + 1, 0
        self.told.count("upserts acknowledged", len(ids))
        return True

    def _delete(self, caller: Caller, dice: random.Random, user: str) -> None:
        promise = self._promise("users", user)
        promise.perhaps, promise.perhaps_deleted = 1, True
        if self._acknowledged(caller, dice, "users", {"user_id": user, "status": "deleted"}, f"{user}-delete"):
            promise.acknowledged, promise.perhaps, promise.deleted = promise.acknowledged + 1, 0, True
            self.told.count("users erased")

    def _acknowledged(
        self, caller: Caller, dice: random.Random, kind: str, records: Json | list[Json], key: str | None
    ) -> bool:
        """With a key, sends again until there is an answer; and once more now and then, which is to be the same."""
        answer = caller.upsert(kind, records, key)
        while answer is None and key is not None and not self._stopping.wait(PAUSE_SECONDS):
            answer = caller.upsert(kind, records, key)
        if answer is None:
            self._stopping.wait(PAUSE_SECONDS)
            return False
        if key is not None and dice.random() < 0.1:
            again = caller.upsert(kind, records, key)
            if again not in (None, answer):
                self.told.fail(f"the repetition of {key} was answered {again}, the first time {answer}")
            self.told.count("repetitions")
        return True

    # Readers

    def _read(self, number: int) -> None:
        """A record never shows less than it did."""
        caller, dice = self._caller(number)
        while not self._stopping.wait(0.01):
            with self.told.lock:
                known = list(self.told.promises)
            if not known:
                continue
            kind, entity_id = entity = dice.choice(known[-2000:])
            least = self.told.seen.get(entity, 0)
            answer = caller.ask("GET", path_of(kind, entity_id), params={"include_deleted": "true"})
            if answer is None or answer.status_code not in (200, 404):
                continue
            version = data(answer)["version"] if answer.status_code == 200 else 0
            if version < least:
                self.told.fail(f"{entity} was read with version {least}, and then with {version}")
            self.told.seen[entity] = version
            self.told.count("reads")
        caller.close()

    def _probe(self, number: int) -> None:
        """Whether the first gateway accepts a write that is then applied."""
        while not self._stopping.is_set():
            began = time.monotonic()
            with suppress(httpx.HTTPError), client(self._cluster.urls[0], self._probers_key) as http:
                answer = http.post(
                    "/v1/ingest/users/upsert", json={"user_id": "probe"}, headers={"Prefer": "wait=5"}, timeout=10
                )
                if answer.status_code == 200 and data(answer)["status"] == "applied":
                    self.healthy_since = began
            self._stopping.wait(PAUSE_SECONDS)

    # Commands

    def _import(self, number: int) -> None:
        """Files of new items. Of a command that failed every row may come once, for a gateway may carry it on."""
        file_number = 0
        while not self._stopping.wait(1):
            ids = [f"row-{file_number}-{row}" for row in range(IMPORT_ROWS)]
            file = self._root / f"import-{file_number}.csv"
            file.write_text("item_id,item_type,status,u0,last\n" + "".join(f"{one},p,active,true,0\n" for one in ids))
            promises = [self._promise("items", one) for one in ids]
            for promise in promises:
                promise.perhaps = 1
            if self.command("import", "items", str(file), "--org", self.org_id) == 0:
                for promise in promises:
                    promise.acknowledged, promise.perhaps = 1, 0
                self.told.count("rows imported", len(ids))
            file_number += 1

    def _rebuild(self, number: int) -> None:
        while not self._stopping.wait(5):
            if self.command("rebuild", "--swap") == 0:
                self.told.count("rebuilds swapped")

    def command(self, *arguments: str, seconds: float | None = None) -> int | None:
        """The exit code of a command for the stack; None where it takes too long."""
        process = subprocess.Popen(
            self._cluster.foldline(*arguments),
            env=self._cluster.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            _, said = process.communicate(timeout=seconds or patient(COMMAND_SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.told.fail(f"`foldline {arguments[0]}` does not end")
            return None
        self.told.count(f"foldline {arguments[0]}: exit {process.returncode}")
        if "Traceback" in said:
            self.told.fail(f"`foldline {arguments[0]}` failed: {said[-1000:]}")
        return process.returncode

    # Poison

    def _poison(self, number: int) -> None:
        """Writes to the log what is no event."""
        dice = random.Random(f"{self._seed}-{number}")
        settings = self._cluster.settings()
        producer = Producer(
            {
                "bootstrap.servers": settings.kafka_bootstrap, "enable.idempotence": True, "log_level": 0,
                "message.timeout.ms": round(1000 * TIMEOUT_SECONDS),
            }
        )  # fmt: skip

        def reported(error: KafkaError | None, message: Message) -> None:
            self.told.count("poison refused" if error else "poison acknowledged")

        while not self._stopping.wait(1):
            topic = settings.topic_prefix + LOG[dice.choice(list(LOG))]
            value = dice.choice((b"", b"\x00", b"\x00\x00\x00\x00\x01", dice.randbytes(40)))
            self.told.count("poison sent")
            producer.produce(topic, value, f"{self.org_id}:poison".encode(), on_delivery=reported)
            producer.poll(0)
        producer.flush(END_SECONDS)


def healed(cluster: Cluster, work: Work) -> None:
    """Waits until the stack applies what is written, and the second gateway answers. Raises `Broken`."""
    began = time.monotonic()

    def both() -> bool:
        cluster.tend()
        if not work.is_healthy(began):
            return False
        with suppress(httpx.HTTPError), client(cluster.urls[1]) as http:
            return http.get("/readyz", timeout=2).status_code == 200
        return False

    wait(both, HEALED_SECONDS, "the stack does not heal")
