"""Keys: the master key that belongs to the database, and organisations that can write."""

from __future__ import annotations

from foldline.adapters.seals import MasterKeys
from foldline.cli.doctor.deployment import Deployment
from foldline.cli.doctor.findings import Findings, fault, ok, warning
from foldline.domain.errors import MasterKeyMissing
from projections.keys import KEYRING_NAME

SHOWN = 5
ROTATE = "run `foldline master-key rotate` with both keys in FOLDLINE_MASTER_KEY, the new one first"


def master_key(deployment: Deployment) -> Findings:
    """Whether there is a master key, and where the database can be looked at, whether it opens the database's keys."""
    try:
        masters = MasterKeys(deployment.settings)
        fingerprint = masters.current.fingerprint.hex()
        if "tables" not in deployment.reached:
            return [ok(f"the master key is {fingerprint}; whether it is the database's cannot be told yet")]
        for (wrapped,) in deployment.rows("keyring"):
            masters.unwrap(KEYRING_NAME, wrapped)
        wrapping = [masters.wrapped_by(by).fingerprint for (by,) in deployment.rows("masters")]
    except MasterKeyMissing as error:
        return [
            fault(
                str(error),
                "set FOLDLINE_MASTER_KEY or FOLDLINE_MASTER_KEY_FILE to the key that this database was made with: without "
                "it no service starts, and no user's attributes can be opened again",
            )
        ]
    if any(by != masters.current.fingerprint for by in wrapping):
        return [warning("some users' keys are wrapped by the master key of before: a rotation was not finished", ROTATE)]
    return [ok(f"the master key {fingerprint} is the database's")]


def api_keys(deployment: Deployment) -> Findings:
    """Whether there are organisations, and each can write."""
    ((organisations, keyless, named),) = deployment.rows("keyless")
    if not organisations:
        return [warning("there is no organisation: nobody can write", "make one: foldline orgs create NAME")]
    if keyless:
        more = f", and {keyless - SHOWN} more" if keyless > SHOWN else ""
        shown = ", ".join(named[:SHOWN]) + more
        return [warning(f"no secret key that works has {shown}: nobody can write for it", "foldline keys create ORG")]
    return [ok(f"{organisations} organisations, each with a secret key or suspended")]
