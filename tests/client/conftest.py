"""A stack with short rate-limit windows, and both clients behind one face: every test of the client holds for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any, cast

import httpx
import pytest

from foldline.client import AsyncClient, Client
from tests.e2e.outside import Organisation, Stack

WINDOW_SECONDS = 3

Connect = Callable[..., Client]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(tmp_path_factory.mktemp("client") / "data", FOLDLINE_RATE_LIMIT_WINDOW_SECONDS=str(WINDOW_SECONDS))
    started.start()
    yield started
    started.close()


@pytest.fixture
def org(stack: Stack) -> Iterator[Organisation]:
    """An organisation of the test's own, without a rate limit."""
    made = stack.organisation()
    with made.client:
        yield made


class Blocking:
    """An `AsyncClient` that blocks: what it would be awaited for is run to its end."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def run(*arguments: Any, **options: Any) -> Any:
            made = call(*arguments, **options)
            if isinstance(made, Coroutine):
                return self._runner.run(made)
            return iter(self._runner.run(_all(made)))

        return run


async def _all(states: AsyncIterator[Any]) -> list[Any]:
    return [state async for state in states]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Connect]:
    """Makes clients: of this stack unless `url` says otherwise."""
    with ExitStack() as open_until_then:

        def sync(key: str, url: str = stack.url, **options: Any) -> Client:
            http = open_until_then.enter_context(httpx.Client(trust_env=False))
            return Client(url, key, http=http, **options)

        def asynchronous(key: str, url: str = stack.url, **options: Any) -> Client:
            http = httpx.AsyncClient(trust_env=False)
            open_until_then.callback(lambda: runner.run(http.aclose()))
            return cast(Client, Blocking(AsyncClient(url, key, http=http, **options), runner))

        if request.param == "sync":
            yield sync
            return
        runner = open_until_then.enter_context(asyncio.Runner())
        yield asynchronous


@pytest.fixture
def client(connect: Connect, org: Organisation) -> Client:
    """A client of an organisation of the test's own."""
    return connect(org.secret_key)
