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


def test_what_a_key_and_a_tenant_may_use_is_changed(gateway: Gateway) -> None:
    """At once, without a new secret."""
    assert post(gateway, "tenants", name="changing").status_code == 201
    made = post(gateway, "keys", tenant="changing", name="k", models=["echo"]).json()
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}

    def put(path: str, **body: Any) -> int:
        url = f"{gateway.ops_url}/admin/v1/{path}"
        return httpx2.put(url, json=body, headers=headers, timeout=20, trust_env=False).status_code

    assert put(f"keys/{made['id']}", models=["answer-4"]) == 200
    assert gateway.chat("echo", key=made["secret"]).status_code == 403
    assert gateway.chat("answer-4", key=made["secret"]).status_code == 200
    assert put("tenants/changing", budgets=[{"window": "day", "tokens": 0}]) == 200
    refused = gateway.chat("answer-4", key=made["secret"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert put("tenants/nobody", clamp_floor=5) == 400
    assert put(f"keys/{made['id']}", budgets=[{"window": "year"}]) == 400


def test_a_stranger_sends_no_body(gateway: Gateway) -> None:
    """Who asks is looked at first, then the length; a body of unknown or great length is not read."""
    url = f"{gateway.ops_url}/admin/v1/keys"
    big, admin = b"x" * 100_000, {"authorization": f"Bearer {ADMIN_KEY}"}
    strange = httpx2.post(url, content=big, headers={"authorization": "Bearer nobody"}, timeout=20, trust_env=False)
    assert strange.status_code == 401
    assert httpx2.post(url, content=big, headers=admin, timeout=20, trust_env=False).status_code == 413
    chunks = httpx2.post(url, content=iter([b"{}"]), headers=admin, timeout=20, trust_env=False)
    assert (chunks.status_code, "content-length" in chunks.text) == (400, True)


def test_long_lists_come_in_pages(gateway: Gateway) -> None:
    """`has_more` tells that there are more; `after` goes on."""
    post(gateway, "tenants", name="pages")
    ids = [post(gateway, "keys", tenant="pages", name=f"k{number}").json()["id"] for number in range(3)]
    page = gateway.ops("/admin/v1/keys?tenant=pages&limit=2").json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[:2], True)
    page = gateway.ops(f"/admin/v1/keys?tenant=pages&limit=2&after={ids[1]}").json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[2:], False)
    post(gateway, "tenants", name="pages-more")
    page = gateway.ops("/admin/v1/tenants?limit=1&after=pages").json()
    assert [one["name"] for one in page["data"]] == ["pages-more"]
    assert gateway.ops("/admin/v1/tenants?limit=1").json()["has_more"]
    assert gateway.ops("/admin/v1/keys?limit=1001").status_code == 400
    assert gateway.ops("/admin/v1/keys?after=key_x").status_code == 400


def test_viewers_may_look_and_strangers_may_not(gateway: Gateway) -> None:
    """Every change needs an admin's key."""
    assert gateway.ops("/admin/v1/tenants", key=VIEWER_KEY).status_code == 200
    assert post(gateway, "tenants", key=VIEWER_KEY, name="c").status_code == 403
    assert post(gateway, "keys", key=VIEWER_KEY, tenant="c", name="k").status_code == 403
    for path in ("tenants", "keys", "audit"):
        assert gateway.ops(f"/admin/v1/{path}", key=None).status_code == 401
