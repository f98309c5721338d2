"""The embedded stack: whether it runs, with all its parts."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Finding, Findings, fault, ok, unless
from foldline.embedded.datadir import Stack, holder
from foldline.embedded.services import answers


def running(deployment: Deployment) -> Findings:
    """Whether the stack of the data directory is up, and every part of it."""
    root, stack = deployment.root, deployment.stack
    if stack is not None:
        return unless(_parts(deployment, stack), f"the stack on {root} runs, with {', '.join(sorted(stack.parts))}")
    if not deployment.down:
        return [ok("no stack of this machine: the servers that the environment names are examined")]
    if (up := holder(root)) is not None:
        return [fault(f"the stack on {root} (process {up.pid}) is not ready", f"wait, or see why in {root}/logs")]
    return [fault(f"no stack is running on {root}", f"start it: foldline up --data-dir {root}")]


def _parts(deployment: Deployment, stack: Stack) -> Iterator[Finding]:
    for name, identity in sorted(stack.parts.items()):
        if not identity.alive():
            log = f"{deployment.root}/logs/{name}.log"
            yield fault(f"{name} is not running", f"`foldline up` starts it again by itself; see why it ended in {log}")
    url = urlsplit(stack.url)
    if not answers(url.hostname or "", url.port or 80, "/readyz"):
        log = f"{deployment.root}/logs/gateway.log"
        yield fault(f"the gateway at {stack.url} is not ready", f"mend what is named below; else see why in {log}")
