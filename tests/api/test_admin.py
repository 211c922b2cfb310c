"""Tenants and keys through the admin API of a real gateway, from making to revoking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.gateway import ADMIN_KEY, VIEWER_KEY, Gateway, one_each
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway whose database is there."""
    with Gateway(one_each(upstream_process.url, ["echo", "answer-4"])) as running:
        running.until(lambda: running.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=30)
        yield running


def post(gateway: Gateway, path: str, key: str = ADMIN_KEY, **body: Any) -> httpx2.Response:
    """One request of an operator."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx2.post(f"{gateway.ops_url}/admin/v1/{path}", json=body, headers=headers, timeout=20, trust_env=False)


def test_the_life_of_a_key(gateway: Gateway) -> None:
    """Made for some models, rotated, revoked; each step works at once, and its secret is shown once."""
    assert post(gateway, "tenants", name="life", clamp_floor=9).status_code == 201
    made = post(gateway, "keys", tenant="life", name="k", models=["echo"])
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert gateway.chat("echo", key=secret).status_code == 200
    assert gateway.chat("answer-4", key=secret).status_code == 403
    rotated = post(gateway, f"keys/{made.json()['id']}/rotate").json()
    assert gateway.chat("echo", key=secret).status_code == 401
    assert gateway.chat("echo", key=rotated["secret"]).status_code == 200
    assert gateway.ops(f"/admin/v1/keys/{rotated['id']}", method="DELETE").status_code == 200
    assert gateway.chat("echo", key=rotated["secret"]).status_code == 401
    listed = gateway.ops("/admin/v1/keys?tenant=life").text
    assert secret not in listed
    assert rotated["secret"] not in listed
    audit = gateway.ops("/admin/v1/audit?limit=4").json()["data"]
    assert [one["what"] for one in audit] == ["revoke key", "rotate key", "create key", "create tenant"]
    assert {one["who"] for one in audit} == {"ops"}


def test_what_cannot_be_made_is_refused(gateway: Gateway) -> None:
    """In OpenAI's shape, with the reason."""
    assert post(gateway, "keys", tenant="a", name="twice").status_code == 201
    refused = post(gateway, "keys", tenant="a", name="twice")
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "There is a key `a/twice` already."
    assert post(gateway, "tenants", name="b", nonsense=1).status_code == 400
    assert post(gateway, "keys/key_nowhere/rotate").status_code == 400


def test_viewers_may_look_and_strangers_may_not(gateway: Gateway) -> None:
    """Every change needs an admin's key."""
    assert gateway.ops("/admin/v1/tenants", key=VIEWER_KEY).status_code == 200
    assert post(gateway, "tenants", key=VIEWER_KEY, name="c").status_code == 403
    assert post(gateway, "keys", key=VIEWER_KEY, tenant="c", name="k").status_code == 403
    for path in ("tenants", "keys", "audit"):
        assert gateway.ops(f"/admin/v1/{path}", key=None).status_code == 401
