"""A key that is revoked, and an organisation that is suspended, on a second gateway: within two seconds."""

from __future__ import annotations

from foldline.adapters.postgres import Connection
from foldline.embedded.processes import until
from foldline.settings import Settings
from producers.tenants import revoke_key, suspend
from tests.producers.conftest import Gateway, NewOrg, gateway_of

HOLDS_SECONDS = 2.0


def test_it_holds_on_every_gateway(stage: Settings, gateway: Gateway, new_org: NewOrg, control: Connection) -> None:
    revoked, suspended = new_org(), new_org()
    with gateway_of(stage) as second:

        def statuses(key: str) -> set[int]:
            found = set()
            for one in (gateway, second):
                with one.client(key) as client:
                    found.add(client.get("/v1/items").status_code)
            return found

        assert statuses(revoked.secret_key) == statuses(suspended.secret_key) == {200}
        revoke_key(control, revoked.secret_key)
        assert until(lambda: statuses(revoked.secret_key) == {401}, HOLDS_SECONDS)
        suspend(control, suspended.org_id)
        assert until(lambda: statuses(suspended.secret_key) == {403}, HOLDS_SECONDS)
