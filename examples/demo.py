"""`make demo`: the whole stack from nothing, the examples sent through HTTP, and the state that came of them.

1. A data directory of its own, made anew; `foldline up` on it; an organisation.
2. catalog.csv and users.csv by `foldline import`, then the upserts and deletions through HTTP, each applied before
   the next is sent.
3. The state, read back through HTTP, has to be what the examples promise, and the PostgreSQL views and the state topics
   have to say the same.

It stays up until Ctrl-C or SIGTERM; with --once it stops after printing. Exits with 0 only if the state was right.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

import psycopg
from rich import box
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

EXAMPLES = Path(__file__).resolve().parent
DATA_DIR = EXAMPLES.parent / ".demo"
FOLDLINE = (sys.executable, "-m", "foldline")

KINDS = ("items", "users")
ID = {"items": "item_id", "users": "user_id"}
STYLE = {"active": "green", "inactive": "yellow", "deleted": "red"}

APPLIED_SECONDS = 120
PUBLISHED_SECONDS = 60
REMOVED_SECONDS = 20
OWNER = "demo@example.com"
MARK = "demonstration"  # only a directory that holds this file is ever removed
LEAST_WIDTH = 120

# What the examples promise: everything of a state but when it was first seen and last updated, which nobody can know.
PROMISED: dict[str, dict[str, dict[str, Any]]] = {
    "items": {
        "PROD-001": {
            "item_type": "product",
            "status": "inactive",
            "attributes": {"name": "Wireless Headphones", "price": 149.99, "category": "Electronics"},
            "version": 2,
        },
        "PROD-002": {
            "item_type": "product",
            "status": "active",
            "attributes": {"name": "Running Shoes", "price": 89.99, "category": "Footwear"},
            "version": 1,
        },
        "PROD-003": {
            "item_type": "product",
            "status": "deleted",
            "attributes": {"name": "Coffee Maker", "price": 59.99, "category": "Kitchen"},
            "version": 2,
        },
        "PROD-004": {
            "item_type": "product",
            "status": "inactive",
            "attributes": {"name": "Yoga Mat", "price": 29.99, "category": "Fitness"},
            "version": 1,
        },
        "PROD-005": {
            "item_type": "product",
            "status": "active",
            "attributes": {"name": "New Backpack", "price": 79.99},
            "version": 1,
        },
    },
    "users": {
        "usr_001": {
            "created_at": "2025-01-12T09:00:00Z",
            "status": "active",
            "attributes": {"email": "alice@example.com", "age": 32, "interests": "tech,music"},
            "version": 1,
        },
        "usr_002": {"created_at": "2025-02-03T14:30:00Z", "status": "deleted", "attributes": {}, "version": 2},
        "usr_003": {
            "created_at": "2025-03-21T08:15:00Z",
            "status": "active",
            "attributes": {"email": "carol@example.com", "age": 28, "interests": "books,travel"},
            "version": 1,
        },
    },
}

Record = dict[str, Any]
States = dict[str, Record]


class Failed(Exception):
    """The demonstration cannot go on, or does not show what the examples promise."""


class Demo(NamedTuple):
    """The running stack, and the organisation made on it."""

    data_dir: Path
    up: subprocess.Popen[str]
    url: str
    database_url: str
    org_id: str
    secret_key: str
    publishable_key: str
    sign_in_link: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="Start the stack, load the examples, show the result.")
    parser.add_argument("--once", action="store_true", help="stop after printing")
    parser.add_argument("--port", type=int, help="the gateway's port; without it a free one")
    parser.add_argument("--data-dir", type=Path, default=DATA_DIR, metavar="D", help="made anew; else .demo")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    try:
        make_anew(chosen.data_dir)
        with running(chosen.data_dir, chosen.port) as demo:
            demonstrate(demo)
            if not chosen.once:
                stay(demo)
    except Failed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def demonstrate(demo: Demo) -> None:
    """Sends the examples and prints the state. Raises `Failed` where it is not what they promise."""
    for kind, file in (("items", "catalog.csv"), ("users", "users.csv")):
        load(demo, kind, file)
    for kind, file in (("items", "items-upsert.json"), ("items", "item-delete.json"), ("users", "user-delete.json")):
        send(demo, kind, (EXAMPLES / file).read_bytes(), file)
    states = {kind: read(demo, kind) for kind in KINDS}
    console = Console(width=max(LEAST_WIDTH, Console().width) if sys.stdout.isatty() else 10_000, highlight=False)
    for kind in KINDS:
        console.print(table(kind, states[kind].values()))
    introduce(console, demo)
    for kind in KINDS:
        compare("the state read through HTTP", without_times(states[kind]), PROMISED[kind])
        compare_views(demo, kind, states[kind])
        compare_topic(demo, kind, states[kind])
    tell("the state is what the examples promise: through HTTP, in PostgreSQL and on the state topics")


def stay(demo: Demo) -> None:
    """Returns after Ctrl-C or SIGTERM."""
    tell("Ctrl-C stops everything")
    with suppress(KeyboardInterrupt):
        raise Failed(f"the stack ended by itself, with exit code {demo.up.wait()}")


def make_anew(directory: Path) -> None:
    """Makes the directory. What an earlier demonstration left is removed, and stopped first if it still runs."""
    if directory.exists():
        if not (directory / MARK).exists() and any(directory.iterdir()):
            raise Failed(f"{directory} is not an earlier demonstration's: move it away")
        stopped = foldline("stop", "--data-dir", str(directory))
        if stopped.returncode == 1:
            raise Failed(stopped.stderr.strip())
        deadline = time.monotonic() + REMOVED_SECONDS
        while directory.exists():  # a server that was left behind may still be writing
            shutil.rmtree(directory, ignore_errors=time.monotonic() < deadline)
    directory.mkdir(mode=0o700, parents=True)
    (directory / MARK).touch()


@contextmanager
def running(directory: Path, port: int | None) -> Iterator[Demo]:
    """The stack on that directory, with an organisation; it is drained and stopped at the end."""
    command = [*FOLDLINE, "up", "--json", "--data-dir", str(directory), *([] if port is None else ["--port", str(port)])]
    # In a session of its own: Ctrl-C is for us to pass on, once.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as up:
        assert up.stdout
        try:
            if not (line := up.stdout.readline()):
                raise Failed("the stack did not start")
            ready = json.loads(line)
            made = foldline("orgs", "create", "Demo", "--owner", OWNER, "--json", "--data-dir", str(directory))
            if made.returncode:
                raise Failed(made.stderr.strip())
            yield Demo(directory, up, ready["url"], ready["database_url"], **json.loads(made.stdout))
        finally:
            stop(up)


def stop(up: subprocess.Popen[str]) -> None:
    """Drains the stack; a second Ctrl-C hurries it."""
    while up.poll() is None:
        with suppress(KeyboardInterrupt):
            up.terminate()
            up.wait()


def foldline(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FOLDLINE, *arguments], capture_output=True, text=True, check=False)


def load(demo: Demo, kind: str, file: str) -> None:
    """Imports a file, and waits until it is applied."""
    where = ("--org", demo.org_id, "--wait", "--json", "--data-dir", str(demo.data_dir))
    done = foldline("import", kind, str(EXAMPLES / file), *where)
    if done.returncode:
        raise Failed(f"{file} is not imported: {done.stdout}{done.stderr}")
    tell(f"{file}: {json.loads(done.stdout)['rows']} {kind} imported")


def send(demo: Demo, kind: str, body: bytes, source: str) -> None:
    """Upserts, and waits until they are applied."""
    operation = http(demo, f"/v1/ingest/{kind}/upsert", body, Prefer="wait=30")
    deadline = time.monotonic() + APPLIED_SECONDS
    while operation.get("status", "queued") == "queued" and time.monotonic() < deadline:
        operation = http(demo, f"/v1/ingest/operations/{operation['operation_id']}")
    if operation.get("status") != "applied":
        raise Failed(f"{source} is not applied: {json.dumps(operation)}")
    tell(f"{source}: {operation['applied']} {kind if operation['applied'] > 1 else kind[:-1]} applied")


def read(demo: Demo, kind: str) -> States:
    """Every record, deleted ones included, by id."""
    found: States = {}
    cursor = ""
    while True:
        page = http(demo, f"/v1/{kind}?include_deleted=true{cursor and f'&cursor={cursor}'}")
        found |= {state[ID[kind]]: state for state in page[kind]}
        if (cursor := page["next_cursor"]) is None:
            return found


def http(demo: Demo, path: str, body: bytes | None = None, **headers: str) -> Any:
    """The `data` of an answer; anything but a success is `Failed`."""
    headers |= {"X-API-KEY": demo.secret_key, "Content-Type": "application/json"}
    try:
        with build_opener(ProxyHandler({})).open(Request(demo.url + path, body, headers)) as answer:
            return json.load(answer)["data"]
    except URLError as error:
        answered = error.read().decode() if hasattr(error, "read") else ""
        raise Failed(f"{path}: {error} {answered}") from error


def table(kind: str, states: Any) -> Table:
    """The records as a person reads them; ids are never cut or folded, attributes may go over several lines."""
    shown = Table(title=kind.capitalize(), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    detail = "type" if kind == "items" else "created at"
    for name in ("id", detail, "status", "version"):
        shown.add_column(name, no_wrap=True, justify="right" if name == "version" else "left")
    shown.add_column("attributes", overflow="fold")
    shown.add_column("updated at", no_wrap=True)
    for column in shown.columns:
        column.min_width = 0 if column.header == "attributes" else len(str(column.header))
    for state in states:
        shown.columns[0].min_width = max(shown.columns[0].min_width or 0, len(state[ID[kind]]))
        shown.add_row(
            Text(state[ID[kind]], style="bold"),
            Text(state["item_type"]) if kind == "items" else moment(state["created_at"]),
            Text(state["status"], style=STYLE[state["status"]]),
            str(state["version"]),
            JSONHighlighter()(Text(json.dumps(state["attributes"], ensure_ascii=False))),
            moment(state["updated_at"]),
        )
    return shown


def moment(time: str) -> Text:
    return Text(re.sub(r"\.[0-9]+", "", time), style="dim")


def introduce(console: Console, demo: Demo) -> None:
    """Where everything is, and what to try."""
    lines = {
        "URL": demo.url,
        "Sign in": f"{demo.sign_in_link} (once)",
        "Documentation": f"{demo.url}/docs",
        "Organisation": demo.org_id,
        "Secret key": demo.secret_key,
        "Publishable key": demo.publishable_key,
        "Database": demo.database_url,
        "Try": f"curl -H 'X-API-KEY: {demo.secret_key}' '{demo.url}/v1/items?include_deleted=true'",
    }
    for name, value in lines.items():
        console.print(Text.assemble((f"{name:16}", "dim"), value), soft_wrap=True)


def without_times(states: States) -> States:
    hidden = ("item_id", "user_id", "first_seen_at", "updated_at")
    return {key: {name: value for name, value in state.items() if name not in hidden} for key, state in states.items()}


def compare(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Failed(f"{what} is not what it must be\n  found    {found}\n  expected {expected}")


def compare_views(demo: Demo, kind: str, states: States) -> None:
    """The views show the same states, and leave out what they must."""
    statuses = {"known": ("active", "inactive", "deleted"), "": ("active", "inactive"), "active": ("active",)}
    columns = next(iter(states.values())).keys()
    with psycopg.connect(demo.database_url, options="-c timezone=UTC") as connection:
        for prefix, shown in statuses.items():
            view = f"{prefix}_{kind}".lstrip("_")
            rows = connection.execute(
                f"SELECT {', '.join(columns)} FROM foldline.{view} WHERE org_id = %s",  # noqa: S608
                (demo.org_id,),
            )
            found = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
            expected = {key: with_moments(state) for key, state in states.items() if state["status"] in shown}
            compare(f"the view foldline.{view}", found, expected)


def with_moments(state: Record) -> Record:
    return {name: datetime.fromisoformat(value) if name.endswith("_at") else value for name, value in state.items()}


def compare_topic(demo: Demo, kind: str, states: States) -> None:
    """The last value of every key on the state topic is its state, in time."""
    found: States = {}
    command = [*FOLDLINE, "tail", kind, "--from-start", "--org", demo.org_id, "--json", "--data-dir", str(demo.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        assert tail.stdout
        timer = threading.Timer(PUBLISHED_SECONDS, tail.terminate)
        timer.start()
        try:
            for line in tail.stdout:
                state = json.loads(line)
                found[state[ID[kind]]] = {name: state[name] for name in states[state[ID[kind]]]}
                if found == states:
                    return
        finally:
            timer.cancel()
            tail.terminate()
    compare(f"the state topic of {kind}", found, states)


def tell(line: str) -> None:
    """Progress, for people."""
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
