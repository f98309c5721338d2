"""HTTP as uvicorn has it, but what is not HTTP is answered in the envelope, and small answers go out at once.

uvicorn checks and writes an answer's head and its body one after the other, which are two system calls and two packets.
"""

from __future__ import annotations

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from producers.gateway.envelope import Json, failure


class Protocol(HttpToolsProtocol):
    """The protocol of one connection."""

    def send_400_response(self, msg: str) -> None:
        body = Json(failure("This is not HTTP as the gateway understands it")).body
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[400] + head + bytes(body))
        self.transport.close()


def answered_at_once(send: Send, status: int, headers: bytes, body: bytes) -> bool:
    """Sends an answer with these header lines, and its length. False where that is to go the usual way: the connection takes
    no more for the moment, or ends with the answer, or `send` is not the server's own."""
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.disconnected or not cycle.keep_alive or cycle.flow.write_paused:
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"%bcontent-length: %d\r\n%b\r\n%b" % (STATUS_LINE[status], len(body), headers, body))
    cycle.message_event.set()
    cycle.on_response()
    return True
