"""Schemas: whether the registry, where there is one, has what events and states are written under."""

from __future__ import annotations

import schemas
from foldline.adapters.registry import ConfluentRegistry, registry_of
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Findings, fault, ok
from foldline.domain.errors import FoldlineError, Unreachable
from foldline.settings import masked_url


def registered(deployment: Deployment) -> Findings:
    """Every version of every schema, and the level of compatibility of every subject."""
    url = deployment.settings.schema_registry_url
    registry = registry_of(deployment.settings)
    if url is None or not isinstance(registry, ConfluentRegistry):
        return [ok(f"no registry is configured: the {len(schemas.bundle())} bundled schemas are used")]
    try:
        lacking = registry.lacking()
    except Unreachable as error:
        return [
            fault(
                str(error),
                "bring it back, or mend FOLDLINE_SCHEMA_REGISTRY_URL. Who has looked up what it needs goes on; a gateway or "
                "a processor that starts waits for it",
            )
        ]
    except FoldlineError as error:
        return [fault(str(error), "let the registry's user read subjects and their compatibility")]
    remedy = "run `foldline init`, then restart processors, then gateways"
    return [fault(what, remedy) for what in lacking] or [ok(f"every schema is registered at {masked_url(url)}")]
