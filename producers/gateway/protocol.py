"""HTTP as uvicorn has it, but what is not HTTP is answered in the envelope, small answers go out at once, and nobody is
waited for without end.

uvicorn checks and writes an answer's head and its body one after the other, which are two system calls and two packets.

1. A head has `head_timeout_seconds`, a body `body_timeout_seconds` and a second more for every `min_body_bytes_per_second`
   that came: else 408. What is not read because we are busy is not counted.
2. A head, or anything else that is no body, has at most `max_head_bytes`: else 431.
3. Connections are looked at once a second, so that a request costs nothing more.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from foldline.settings import Settings
from producers.gateway.envelope import Json, failure

LOOK_SECONDS: Final = 1.0
_STATUS_LINE: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Protocol(HttpToolsProtocol):
    """The protocol of one connection."""

    max_head_bytes = Settings.model_fields["max_head_bytes"].default

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unread = 0  # bytes that came since the last that were of a body, or ended a head
        self._body_bytes = 0
        self._awaited: object = None
        self._awaited_since = 0.0

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self.max_head_bytes and not self.transport.is_closing():
            self._refuse(431, "The head of the request is too large")

    def on_headers_complete(self) -> None:
        self._unread = self._body_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "This is not HTTP as the gateway understands it")

    def look(self, now: float, settings: Settings) -> None:
        """Ends the connection where its client is too slow."""
        awaited = self._client_is_to_send()
        if awaited is None or awaited != self._awaited or self.flow.read_paused:
            self._awaited, self._awaited_since = awaited, now
            return
        allowed = settings.head_timeout_seconds
        if awaited[1]:
            allowed = settings.body_timeout_seconds + self._body_bytes / settings.min_body_bytes_per_second
        if now - self._awaited_since > allowed:
            self._refuse(408, "The request did not arrive in time")

    def _client_is_to_send(self) -> tuple[object, bool] | None:
        """What the client has to send next, by the request before and whether it is a body; None where it has sent all, or
        is between two requests."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return None if self.timeout_keep_alive_task is not None else (cycle, False)
        return (cycle, True) if cycle.more_body else None

    def _refuse(self, status: int, message: str) -> None:
        """Answers, where nothing was answered yet, and ends the connection."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = Json(failure(message)).body
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(_STATUS_LINE[status] + head + bytes(body))
        self.transport.close()


async def look_at(connections: set[Any], settings: Settings) -> None:
    """Looks at the connections of a server, once a second and for ever."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        for connection in list(connections):
            if isinstance(connection, Protocol) and connection.transport is not None:
                connection.look(now, settings)


def answered_at_once(send: Send, status: int, headers: bytes, body: bytes) -> bool:
    """Sends an answer with these lines of headers, and its length. False where that is to go the usual way: the connection
    takes no more for the moment, or ends with the answer, or `send` is not the server's own."""
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.disconnected or not cycle.keep_alive or cycle.flow.write_paused:
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"%bcontent-length: %d\r\n%b\r\n\r\n%b" % (_STATUS_LINE[status], len(body), headers, body))
    cycle.message_event.set()
    cycle.on_response()
    return True
