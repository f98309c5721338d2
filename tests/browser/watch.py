"""What must not happen on any page, whatever the test is about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, Response, WebError

ANSWERED = re.compile(r"Failed to load resource: the server responded with a status of (\d{3})")
LOST = re.compile(r"net::ERR_(CONNECTION_|EMPTY_RESPONSE|INCOMPLETE_CHUNKED|SOCKET_NOT|NETWORK_CHANGED)")
ABORTED = "net::ERR_ABORTED"  # by the page itself, which went on to another


@dataclass
class Watch:
    """What the pages of a context do wrong: errors on the console, which breaches of the content security policy are too,
    exceptions, answers from 400 on that the test does not expect, lost requests, and requests to any other host."""

    host: str
    expected: set[int] = field(default_factory=set)
    outage: bool = False  # while the test breaks the server
    complaints: list[str] = field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        answered = ANSWERED.match(message.text)
        known = (answered and self._is_expected(int(answered[1]))) or (self.outage and LOST.search(message.text))
        if message.type == "error" and not known:
            self.complaints.append(f"console: {message.text}")

    def on_web_error(self, error: WebError) -> None:
        self.complaints.append(f"exception: {error.error}")

    def on_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("blob", "data") and address.netloc != self.host:
            self.complaints.append(f"another host: {request.url}")

    def on_request_failed(self, request: Request) -> None:
        failure = request.failure or ""
        if failure != ABORTED and not (self.outage and LOST.search(failure)):
            self.complaints.append(f"lost: {request.method} {request.url}: {failure}")

    def on_response(self, response: Response) -> None:
        if response.status >= 400 and not self._is_expected(response.status):
            self.complaints.append(f"answered {response.status}: {response.request.method} {response.url}")

    def _is_expected(self, status: int) -> bool:
        return status in self.expected or (self.outage and status in (502, 503))


def watched(context: BrowserContext, url: str) -> Watch:
    """Watches every page of the context from now on."""
    watch = Watch(urlsplit(url).netloc)
    context.on("console", watch.on_console)
    context.on("weberror", watch.on_web_error)
    context.on("request", watch.on_request)
    context.on("requestfailed", watch.on_request_failed)
    context.on("response", watch.on_response)
    return watch
