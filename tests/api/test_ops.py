"""What operators ask: metrics, the running configuration, a reload; and who may ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import thread_time

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.ops import TURN, in_turns
from app.cells import Cells, Files
from app.errors import CODES
from app.exposition import render
from app.telemetry import COST, FIRST_TOKEN, METRICS, Telemetry
from app.version import VERSION
from tests.support.gateway import ADMIN_KEY, KEY, LIMITED_KEY, PLAIN, VIEWER_KEY, Gateway, Json, one_each
from tests.support.processes import resident
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def document(upstream_process: Upstream) -> Json:
    """A configuration with one model."""
    return one_each(upstream_process.url, ["bad-json", "fail-400"])


@pytest.fixture(scope="module")
def running(document: Json) -> Iterator[Gateway]:
    """A gateway of the module's own: its configuration changes."""
    with Gateway(document) as running:
        yield running


@pytest.fixture
def gateway(running: Gateway, document: Json) -> Iterator[Gateway]:
    """The same, with the document's configuration in force before and after."""
    yield running
    running.write(document)
    running.ops("/admin/v1/config/reload", method="POST")


def test_metrics_are_prometheus(gateway: Gateway) -> None:
    """Every declared metric has its help and type, and the sums are those of the access log."""
    for model, stream in (("echo", True), ("echo", False), ("nobody", False), ("bad-json", True), ("fail-400", False)):
        gateway.chat(model, stream=stream)
    gateway.chat(key="wrong")
    response = gateway.ops("/metrics", key=None)
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(response.text)}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.told)
    lines = gateway.lines(sum(gateway.outcomes().values()))
    assert gateway.outcomes() == Counter(line["outcome"] for line in lines)
    assert gateway.value("sluicegate_cost_usd_total") == pytest.approx(sum(line.get("cost_usd", 0) for line in lines))
    assert gateway.value("sluicegate_upstream_attempts_total") == sum(line["attempts"] for line in lines)
    for kind in ("input", "output"):
        tokens = gateway.value("gen_ai_client_token_usage_sum", gen_ai_token_type=kind)
        assert tokens == sum(line.get(f"{kind}_tokens", 0) for line in lines)
    own = gateway.value("sluicegate_overhead_seconds_sum", stage="total")
    assert own * 1000 == pytest.approx(sum(line["overhead_ms"] for line in lines), rel=0.05)


def test_prometheus_gets_openmetrics(gateway: Gateway) -> None:
    """It asks for it by itself: the same samples, and an end that says that nothing is missing."""
    gateway.chat()
    asked = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    response = httpx2.get(f"{gateway.ops_url}/metrics", headers=asked, **PLAIN)
    assert response.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert response.text.endswith("# EOF\n")
    assert "# TYPE sluicegate_requests counter\n" in response.text
    assert 'sluicegate_requests_total{model="echo"' in response.text


MANY = 4000


async def test_a_scrape_keeps_the_event_loop_for_no_longer_than_a_turn(tmp_path: Path) -> None:
    """Of four workers with thousands of series, reading and adding up included: no step takes long, however long it is.

    Steps are timed in CPU time of this thread, so that other work on the machine counts for nothing.
    """
    for worker in range(4):
        telemetry = Telemetry(Cells(tmp_path, f"worker-{worker}"))
        for number in range(MANY // 4):
            telemetry.histogram(FIRST_TOKEN, f"model-{number}", "d", "stable").observe(0.1)
            telemetry.counter(COST, f"model-{number}", "d", "stable", "t").inc()
    files = Files(tmp_path)
    list(files.read())  # catalogues grow slowly: in service only what is new is read
    steps, texts = [], []
    pieces = in_turns(render(files.read()))
    began = thread_time()
    async for text in pieces:
        steps.append(thread_time() - began)
        texts.append(text)
        began = thread_time()
    whole = "".join(texts)
    assert whole.count("\nsluicegate_cost_usd_total{") == MANY // 4
    assert sum(steps) > 10 * TURN
    assert sorted(steps)[-3] < 10 * TURN, sorted(steps)[-5:]


def test_metrics_are_not_for_callers_where_operators_have_a_listener(gateway: Gateway) -> None:
    """Nor is anything else of theirs."""
    for path in ("/metrics", "/admin/v1/config"):
        assert gateway.get(path, key=ADMIN_KEY).status_code == 404


def test_the_process_tells_of_itself(gateway: Gateway) -> None:
    """Version, memory, files and tasks, and which endpoints are up."""
    assert gateway.value("sluicegate_build_info", version=VERSION) == 1
    assert gateway.value("sluicegate_resident_memory_bytes") == pytest.approx(resident(gateway.pid), rel=0.2)
    assert gateway.value("sluicegate_open_fds") > 3
    gateway.until(lambda: gateway.value("sluicegate_endpoint_up", deployment="to-echo") == 1)
    gateway.until(lambda: gateway.value("sluicegate_in_flight") == 0)


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
    response = gateway.ops(path, method=method, key=key)
    assert response.status_code == status
    assert response.status_code == 200 or response.json()["error"]["code"] in CODES


def test_config_shows_no_secret(gateway: Gateway) -> None:
    """References, never values."""
    response = gateway.ops("/admin/v1/config")
    for secret in (KEY, LIMITED_KEY, ADMIN_KEY, VIEWER_KEY):
        assert secret not in response.text
    shown = response.json()
    assert shown["tenants"][0]["keys"][0]["secret"] == "env:TEST_KEY"
    assert (shown["server"]["max_in_flight"], shown["server"]["header_timeout"]) == (1024, 15)


def test_reload(gateway: Gateway, document: Json) -> None:
    """A new model serves at once; the audit names who did it."""
    model = {**document["models"][0], "name": "fresh"}
    assert gateway.chat("fresh").status_code == 404
    gateway.write({**document, "models": [*document["models"], model]})
    assert gateway.ops("/admin/v1/config/reload", method="POST").json()["result"] in {"changed", "unchanged"}
    assert gateway.chat("fresh").status_code == 200
    said = [line for line in gateway.said("config reload") if line["logger"] == "sluicegate.audit"]
    version = gateway.ops("/admin/v1/config/reload", method="POST").json()["version"]
    assert (said[-1]["who"], said[-1]["version"]) == ("ops", version)


def test_a_bad_file_changes_nothing(gateway: Gateway, document: Json) -> None:
    """400 with every problem and its place; requests go on with the configuration before."""
    gateway.write({**document, "models": [{"name": "echo", "stable": "nowhere"}]})
    response = gateway.ops("/admin/v1/config/reload", method="POST")
    assert (response.status_code, response.json()["result"]) == (400, "refused")
    assert response.json()["problems"][0]["path"] == "models[0].stable"
    assert gateway.chat().status_code == 200
    assert gateway.value("sluicegate_config_reloads_total", result="refused") >= 1
    assert gateway.ops("/admin/v1/config").json()["models"][0]["stable"] == "to-echo"


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
