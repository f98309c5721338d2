"""`python -m tests.embedded.standins DATA_DIR [PORT]`: a stack whose services are small programs, on real servers.

Each stand-in writes what it sees when it is asked to stop into `DATA_DIR/order`. `FAIL_INIT` lets `init` fail.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from foldline.cli.context import errors_as_exit_codes
from foldline.embedded.datadir import Stack
from foldline.embedded.services import Services, foldline_services
from foldline.embedded.stack import Options, up

INIT = "import os, sys; sys.exit('no schema' if 'FAIL_INIT' in os.environ else 0)"

GATEWAY = """
import http.server, os, signal
from pathlib import Path

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

def stop(*_):
    with open(os.environ["ORDER"], "a") as order:
        order.write("gateway\\n")
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
address = os.environ["FOLDLINE_GATEWAY_HOST"], int(os.environ["FOLDLINE_GATEWAY_PORT"])
http.server.HTTPServer(address, Ready).serve_forever()
"""

PROCESSOR = """
import os, signal, socket
from pathlib import Path

def stop(*_):
    host, port = os.environ["FOLDLINE_KAFKA_BOOTSTRAP"].split(":")
    socket.create_connection((host, int(port))).close()
    with open(os.environ["ORDER"], "a") as order:
        order.write("processor while Kafka answers\\n")
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
Path(os.environ["FOLDLINE_READY_FILE"]).touch()
while True:
    signal.pause()
"""


def standins(
    root: Path, host: str, port: int, metrics_ports: Sequence[int], runner: str, environment: Mapping[str, str]
) -> Services:
    real = foldline_services(root, host, port, metrics_ports, runner, {**environment, "ORDER": str(root / "order")})
    return Services(
        init=replace(real.init, argv=[sys.executable, "-c", INIT]),
        gateway=replace(real.gateway, argv=[sys.executable, "-c", GATEWAY]),
        processors=[replace(part, argv=[sys.executable, "-c", PROCESSOR]) for part in real.processors],
    )


def announce(stack: Stack) -> None:
    print(f"ready at {stack.url}", flush=True)


if __name__ == "__main__":
    directory, *port = sys.argv[1:]
    options = Options(
        root=Path(directory).resolve(),
        host="127.0.0.1",
        port=int(port[0]) if port else None,
        processors=1,
        runner="native",
        partitions=4,
    )
    os.environ["FOLDLINE_TOPIC_PREFIX"] = "standin."
    with errors_as_exit_codes():
        up(options, announce, standins)
