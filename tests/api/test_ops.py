"""What operators ask: metrics, the running configuration, a reload; and who may ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry import METRICS
from tests.support.gateway import ADMIN_KEY, KEY, LIMITED_KEY, VIEWER_KEY, Gateway, Json, one_each
from tests.support.upstream import Upstream


@pytest.fixture
def document(upstream_process: Upstream) -> Json:
    """A configuration with one model."""
    return one_each(upstream_process.url, [])


@pytest.fixture
def gateway(document: Json) -> Iterator[Gateway]:
    """A gateway of the test's own: its configuration changes."""
    with Gateway(document) as running:
        yield running


def test_metrics_are_prometheus(gateway: Gateway) -> None:
    """Every declared metric has its help and type, and the sums are those of the access log."""
    for _ in range(3):
        gateway.chat()
    gateway.chat(key="wrong")
    text = gateway.ops("/metrics", key=None).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
    assert gateway.outcomes() == {"ok": 3, "refused_auth": 1}
    lines = gateway.lines(4)
    assert gateway.value("sluicegate_cost_usd_total") == pytest.approx(sum(line.get("cost_usd", 0) for line in lines))
    tokens = gateway.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output")
    assert tokens == sum(line.get("output_tokens", 0) for line in lines)


def test_invented_names_make_no_series(gateway: Gateway) -> None:
    """Whatever callers call their models, the number of series stays what it is."""
    gateway.chat("nobody-0")
    before = len(gateway.metrics())
    for number in range(1, 50):
        assert gateway.chat(f"nobody-{number}").status_code == 404
    assert len(gateway.metrics()) == before


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/admin/v1/config", None, 401),
        ("GET", "/admin/v1/config", KEY, 401),
        ("GET", "/admin/v1/config", VIEWER_KEY, 200),
        ("GET", "/admin/v1/config", ADMIN_KEY, 200),
        ("POST", "/admin/v1/config/reload", None, 401),
        ("POST", "/admin/v1/config/reload", VIEWER_KEY, 403),
        ("POST", "/admin/v1/config/reload", ADMIN_KEY, 200),
        ("PUT", "/admin/v1/config", ADMIN_KEY, 405),
    ],
)
def test_who_may(gateway: Gateway, method: str, path: str, key: str | None, status: int) -> None:
    """Viewers look, admins change, callers' keys open nothing here."""
    assert gateway.ops(path, method=method, key=key).status_code == status


def test_config_shows_no_secret(gateway: Gateway) -> None:
    """References, never values."""
    response = gateway.ops("/admin/v1/config")
    for secret in (KEY, LIMITED_KEY, ADMIN_KEY, VIEWER_KEY):
        assert secret not in response.text
    assert response.json()["tenants"][0]["keys"][0]["secret"] == "env:TEST_KEY"


def test_reload(gateway: Gateway, document: Json) -> None:
    """A new model serves at once; the audit names who did it."""
    model = {**document["models"][0], "name": "fresh"}
    assert gateway.chat("fresh").status_code == 404
    gateway.write({**document, "models": [*document["models"], model]})
    assert gateway.ops("/admin/v1/config/reload", method="POST").json()["result"] in {"changed", "unchanged"}
    assert gateway.chat("fresh").status_code == 200
    gateway.until(lambda: any(line.get("who") == "ops" for line in gateway.said("config reload")))


def test_a_bad_file_changes_nothing(gateway: Gateway, document: Json) -> None:
    """400 with every problem and its place; requests go on with the configuration before."""
    gateway.write({**document, "models": [{"name": "echo", "stable": "nowhere"}]})
    response = gateway.ops("/admin/v1/config/reload", method="POST")
    assert (response.status_code, response.json()["result"]) == (400, "refused")
    assert response.json()["problems"][0]["path"] == "models[0].stable"
    assert gateway.chat().status_code == 200


def test_without_a_listener_of_their_own(upstream_process: Upstream) -> None:
    """Operators' paths share the callers' port; on a loopback address `/metrics` is open, `/admin` is not."""
    document = one_each(upstream_process.url, [], sections={"server": {"ops": None}})
    with Gateway(document) as gateway:
        assert gateway.ops_url == gateway.url
        assert gateway.get("/metrics", key=None).status_code == 200
        assert gateway.get("/docs", key=None).status_code == 200
        assert gateway.get("/admin/v1/config", key=None).status_code == 401


def test_on_a_public_address_metrics_need_a_key(upstream_process: Upstream) -> None:
    """Without a listener of their own and off loopback, strangers do not read metrics."""
    document = one_each(upstream_process.url, [], sections={"server": {"ops": None, "host": "0.0.0.0"}})
    with Gateway(document) as gateway:
        gateway.url = gateway.ops_url = gateway.url.replace("0.0.0.0", "127.0.0.1")
        assert gateway.get("/metrics", key=None).status_code == 401
        assert gateway.ops("/metrics", key=VIEWER_KEY).status_code == 200
