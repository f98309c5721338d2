"""Writers that go on whatever happens to the stack, and remember what they were promised."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from tests.e2e.outside import ID, KINDS, Json, Organisation, Stack, client, data, eventually

UPSERTS_A_RECORD = 8
RETRY_SECONDS = 0.1


class Promise(NamedTuple):
    """What a record was promised: so many upserts acknowledged, the last of them last, and perhaps one more."""

    acknowledged: int
    perhaps: int


class Writers:
    """Each upsert of a record adds one attribute and moves a counter. After an answer that is not 202 nobody knows whether
    the upsert will appear, so the writer leaves that record alone and goes on with another."""

    def __init__(self, stack: Stack, org: Organisation, number: int, repeats: bool = False) -> None:
        """With `repeats` an upsert is sent again with its `Idempotency-Key` until it is answered: then everybody knows."""
        self._stack, self._org, self._repeats = stack, org, repeats
        self.repeated = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(number)]
        self.promises: dict[tuple[str, str], Promise] = {}
        self.refused: list[str] = []
        self.acknowledged = 0

    def _run(self, number: int) -> None:
        with client(self._stack.url, self._org.secret_key) as http:
            http.timeout = httpx.Timeout(30)
            record = 0
            while not self._stop.is_set():
                kind = KINDS[record % 2]
                self._write(http, kind, f"{number}-{record}")
                record += 1

    def _write(self, http: httpx.Client, kind: str, entity_id: str) -> None:
        own = {"item_id": entity_id, "item_type": "p"} if kind == "items" else {"user_id": entity_id}
        for upsert in range(UPSERTS_A_RECORD):
            if self._stop.is_set():
                return
            promise = self.promises.get((kind, entity_id), Promise(0, 0))
            record = own | {"attributes": {f"u{upsert}": True, "last": upsert}}
            key = {"Idempotency-Key": f"{kind} {entity_id} {upsert}"} if self._repeats else {}
            answer = self._answer(http, kind, record, key)
            while self._repeats and (answer is None or answer.status_code in (409, 503)):
                self.repeated += 1
                time.sleep(RETRY_SECONDS)
                answer = self._answer(http, kind, record, key)
            if answer is not None and answer.status_code == 202:
                self.promises[kind, entity_id] = promise._replace(acknowledged=promise.acknowledged + 1)
                self.acknowledged += 1
                continue
            self.promises[kind, entity_id] = promise._replace(perhaps=1)
            if answer is not None and answer.status_code != 503:
                self.refused.append(f"{answer.status_code} {answer.text}")
            self._stop.wait(RETRY_SECONDS)
            return

    def _answer(self, http: httpx.Client, kind: str, record: Json, headers: dict[str, str]) -> httpx.Response | None:
        try:
            return http.post(f"/v1/ingest/{kind}/upsert", json=record, headers=headers)
        except httpx.HTTPError:
            return None

    def more(self, count: int, seconds: float = 60) -> None:
        """Waits until so many more upserts have been acknowledged."""
        wanted = self.acknowledged + count
        assert eventually(lambda: self.acknowledged >= wanted, seconds), f"{wanted - self.acknowledged} are missing"

    def assert_kept(self) -> None:
        """After the writers have ended: every promise is kept exactly once, in the table, by HTTP and on the topics."""
        assert self.refused == []
        states = self._stack.assert_topics_equal_table(self._org.org_id)
        found = {entity: state["version"] for entity, state in states.items()}
        broken = []
        for entity, (acknowledged, perhaps) in self.promises.items():
            state = states.pop(entity, None)
            version = 0 if state is None else state["version"]
            attributes = {} if state is None else state["attributes"]
            expected = {f"u{upsert}": True for upsert in range(version)} | ({"last": version - 1} if version else {})
            if not acknowledged <= version <= acknowledged + perhaps or attributes != expected:
                broken.append(f"{entity}: {acknowledged} acknowledged, {perhaps} perhaps, but {version}: {attributes}")
        assert broken == []
        assert states == {}
        for kind in KINDS:
            versions = {(kind, state[ID[kind]]): state["version"] for state in self._org.listing(kind)}
            assert versions == {entity: version for entity, version in found.items() if entity[0] == kind}


@contextmanager
def writing(stack: Stack, org: Organisation, number: int = 3, repeats: bool = False) -> Iterator[Writers]:
    """Writers while the block runs."""
    writers = Writers(stack, org, number, repeats)
    for thread in writers._threads:
        thread.start()
    try:
        yield writers
    finally:
        writers._stop.set()
        for thread in writers._threads:
            thread.join(60)


def applies_work(stack: Stack, org: Organisation) -> bool:
    """Whether the stack accepts an upsert and applies it in time. A client of its own: connections may be dead."""
    try:
        with client(stack.url, org.secret_key) as http:
            answer = http.post("/v1/ingest/users/upsert", json={"user_id": "probe"}, headers={"Prefer": "wait=5"})
            return answer.status_code == 200 and data(answer)["status"] == "applied"
    except httpx.HTTPError:
        return False
