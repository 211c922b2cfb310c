"""Usage over HTTP and on the command line, held against the ledger and what callers were told."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from tests.support.gateway import KEY, LIMITED_KEY, ROOT, Gateway, one_each
from tests.support.upstream import Upstream


@pytest.mark.timeout(120)
def test_usage_is_what_callers_were_told(upstream: Upstream) -> None:
    """By day, tenant, key and model; as JSON, as CSV, by the command; and a key sees its own only."""
    with Gateway(one_each(upstream.url, ["echo", "answer-4"])) as gateway:
        told = {"main": [0, 0], "limited": [0, 0]}
        for key, name, times in ((KEY, "main", 3), (LIMITED_KEY, "limited", 2)):
            for _ in range(times):
                usage = gateway.chat("echo", key=key).json()["usage"]
                told[name][0] += usage["prompt_tokens"]
                told[name][1] += usage["completion_tokens"]
        gateway.until(lambda: gateway.value("sluicegate_ledger_rows_total") == 5, seconds=30)

        found = gateway.ops("/admin/v1/usage").json()["data"]
        by_key = {one["key"]: [one["input_tokens"], one["output_tokens"]] for one in found}
        assert by_key == told
        nano = {name: told[name][0] * 500 + told[name][1] * 1500 for name in told}  # $0.5 and $1.5 a million
        assert {one["key"]: one["cost_nano_usd"] for one in found} == nano

        lines = list(csv.DictReader(io.StringIO(gateway.ops("/admin/v1/usage?format=csv&by=key").text)))
        assert {line["key"]: int(line["cost_nano_usd"]) for line in lines} == nano
        [own] = gateway.get("/v1/usage", key=LIMITED_KEY).json()["data"]
        assert (own["model"], own["cost_nano_usd"]) == ("echo", nano["limited"])
        assert gateway.get("/v1/usage", key="sk-unknown").status_code == 401
        assert gateway.ops("/admin/v1/usage?by=colour").status_code == 400

        environ = {"TEST_KEY": "a", "TEST_LIMITED_KEY": "b", "TEST_ADMIN_KEY": "c", "TEST_VIEWER_KEY": "d"}
        command = [sys.executable, "-m", "app.cli", "usage", "--config", str(gateway.config_file), "--json"]
        printed = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=True).stdout
        assert sum(one["cost_nano_usd"] for one in json.loads(printed)) == sum(nano.values())


def test_without_a_ledger_usage_says_that_there_is_none(upstream: Upstream) -> None:
    """And nothing is written; requests are served, charged and counted all the same."""
    document = one_each(upstream.url, ["echo"])
    document["stores"] = {**document.get("stores", {}), "ledger": False}
    with Gateway(document) as gateway:
        assert gateway.chat("echo").json()["usage"]["prompt_tokens"] > 0
        gateway.until(lambda: gateway.value("sluicegate_cost_usd_total") > 0, seconds=30)
        for answer in (gateway.get("/v1/usage", key=KEY), gateway.ops("/admin/v1/usage")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
            assert "stores.ledger" in answer.json()["error"]["message"]
        assert gateway.value("sluicegate_ledger_rows_total") == 0
        spool = gateway.config_file.parent / "spool"
        assert list(spool.glob("*.log")) == []
