"""The routing table: exact prices, keys by digest, and that it is a value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import Deployment as Section
from app.config import load
from app.exchange import Arm, Endpoint, Principal, Provider, Timeouts
from app.prices import Prices
from app.table import ANONYMOUS, Admin, Bounds, Deployment, State, Table, build
from tests.support.configs import ENVIRON, REMOVED, loaded, small

CI = ENVIRON["SLUICEGATE_CI_KEY"].encode()


def table(changes: dict[str, Any] | None = None) -> Table:
    """The table of the small configuration, changed."""
    return build(loaded(changes))


def first(path: str, value: object) -> Deployment:
    """The first deployment with one setting changed."""
    return table({f"deployments[0].{path}": value}).deployments["one"]


def test_models_name_their_deployments() -> None:
    """Stable, and fallbacks in order; the same objects wherever they are named."""
    built = table({"models[0].fallbacks": ["two"], "models[1]": {"name": "mini", "stable": "two"}})
    assert list(built.models) == ["chat", "mini"]
    assert built.models["chat"].stable is built.deployments["one"]
    assert built.models["chat"].fallbacks == (built.deployments["two"],)
    assert built.models["mini"].stable is built.deployments["two"]


def test_a_deployment_is_ready_to_be_called() -> None:
    """Everything that a provider needs, taken apart once."""
    one = table().deployments["one"]
    assert one.provider is Provider.VLLM
    assert one.endpoints == (Endpoint("http", "127.0.0.1", 8000, "/v1"),)
    assert one.timeouts == Timeouts(connect=2, first_token=30, between_tokens=20, total=600)
    assert (one.model, one.context_window, one.max_output_tokens) == ("upstream-model", 8192, 1024)
    assert (one.api_key, one.headers, one.cancel_allowance, one.health) == (None, (), 16, "/health")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://api.example.com/v1/", Endpoint("https", "api.example.com", 443, "/v1")),
        ("http://host", Endpoint("http", "host", 80, "")),
        ("http://[::1]:8001/a/b", Endpoint("http", "::1", 8001, "/a/b")),
        ("http://HOST:80", Endpoint("http", "host", 80, "")),
    ],
)
def test_addresses_are_taken_apart(url: str, endpoint: Endpoint) -> None:
    """Two notations of one address are equal, so they share connections."""
    assert first("base_url", url).endpoints == (endpoint,)


def test_replicas_proxy_and_http2_stand_at_every_endpoint() -> None:
    """A proxy's password comes from its reference."""
    one = table(
        {
            "deployments[0].base_url": REMOVED,
            "deployments[0].endpoints": ["http://a:1", "http://b:2"],
            "deployments[0].proxy": "env:PROXY_URL",
            "deployments[0].http2": True,
        }
    ).deployments["one"]
    proxy = ENVIRON["PROXY_URL"]
    assert one.endpoints == tuple(
        Endpoint("http", host, port, "", proxy, http2=True) for host, port in (("a", 1), ("b", 2))
    )


def test_credentials_are_held_and_not_shown() -> None:
    """An upstream's key and headers; callers' keys not even held."""
    built = table({"deployments[0].headers": {"Authorization": "env:EXTRA_TOKEN", "x": "y"}})
    key = built.deployments["two"].api_key
    assert key is not None
    assert key.reveal() == ENVIRON["OPENAI_API_KEY"]
    assert built.deployments["one"].headers == (("authorization", ENVIRON["EXTRA_TOKEN"]), ("x", "y"))
    assert not [value for value in ENVIRON.values() if value in repr(built)]
    assert CI not in [part for digest, (rest, _) in built.keys.items() for part in (digest, rest, digest + rest)]


def test_prices_are_pico_usd_per_token() -> None:
    """$0.05 per million tokens are 50 000 pico-USD per token; what is left out costs as its whole."""
    assert first("price", {"input": 0.05, "output": 0.08, "cached_input": 0.01}).price == Prices(50000, 80000, 10000)
    assert first("price", {"input": 1, "output": 0, "cache_write": 0}).price == Prices(10**6, 0, None, 0)
    long = {"above": 1000, "input": 2, "output": 0, "cached_input": 1}
    tiered = first("price", {"input": 1, "output": 0, "image": 0.01, "long_prompt": long}).price
    assert tiered.long == Prices(2 * 10**6, 0, 10**6, image=10**10)
    assert (tiered.long_above, tiered.image) == (1000, 10**10)


@given(st.integers(0, 10**9))
def test_prices_are_exact(millionths: int) -> None:
    """Any price with six decimals, as it is typed."""
    document = json.dumps(small()).replace('"input": 0.05', f'"input": {millionths // 10**6}.{millionths % 10**6:06}')
    assert build(load(document, ENVIRON)).deployments["one"].price.input == millionths


def test_a_provider_that_bills_on_has_no_allowance() -> None:
    """None stands for `full`."""
    assert first("cancel_allowance", "full").cancel_allowance is None
    assert first("cancel_allowance", 0).cancel_allowance == 0


def test_a_key_tells_who_calls() -> None:
    """Tenant, key, and the models that it may use."""
    restricted = {"name": "app", "secret": "env:SLUICEGATE_APP_KEY", "models": ["chat"]}
    built = table({"tenants[0].keys[1]": restricted})
    assert built.principal(CI) == Principal("team", "ci", None)
    assert built.principal(ENVIRON["SLUICEGATE_APP_KEY"].encode()) == Principal("team", "app", frozenset({"chat"}))


@pytest.mark.parametrize("secret", [None, b"", b"wrong", CI + b" ", CI[:-1], hashlib.sha256(CI).digest(), b"\xff" * 9])
def test_another_credential_is_nobodys(secret: bytes | None) -> None:
    """Its digest does not help either."""
    assert table().principal(secret) is None
    assert table({"admin.key": "env:SLUICEGATE_ADMIN_KEY"}).admin(secret) is None


def test_half_a_digest_is_not_enough() -> None:
    """Both halves are compared."""
    built = table()
    keys = {digest: (b"\0" * 16, holder) for digest, (_, holder) in built.keys.items()}
    forged = dataclasses.replace(built, keys=keys)
    assert forged.principal(CI) is None


def test_operators_and_callers_have_keys_of_different_kinds() -> None:
    """Neither opens the other's door."""
    built = table(
        {
            "admin.key": "env:SLUICEGATE_ADMIN_KEY",
            "admin.keys": [{"name": "eve", "secret": "env:SLUICEGATE_APP_KEY", "role": "viewer"}],
        }
    )
    admin = ENVIRON["SLUICEGATE_ADMIN_KEY"].encode()
    assert built.admin(admin) == Admin("admin", "admin")
    assert built.admin(ENVIRON["SLUICEGATE_APP_KEY"].encode()) == Admin("eve", "viewer")
    assert built.admin(CI) is None
    assert built.principal(admin) is None


def test_without_tenants_everybody_is_anonymous() -> None:
    """With any credential or none."""
    built = table({"tenants": REMOVED})
    assert built.principal(None) is built.principal(b"anything") is built.anonymous is ANONYMOUS
    assert table().anonymous is None


def test_a_table_is_a_value() -> None:
    """Equal configurations give equal tables; nothing in one can be changed."""
    built = table()
    assert built == table()
    assert built != table({"server.max_in_flight": 5})
    assert built.bounds == Bounds(max_body_bytes=10485760, max_in_flight=1024, body_timeout=60)
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.version = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        built.models["x"] = built.models["chat"]  # type: ignore[index]


def test_the_running_table_is_replaced_by_one_assignment() -> None:
    """Who has read it keeps what it read."""
    state = State(table())
    read = state.table
    state.table = table({"server.max_in_flight": 5})
    assert read.bounds.max_in_flight == 1024
    assert state.table.bounds.max_in_flight == 5


def test_the_providers_of_the_file_are_those_of_the_vocabulary() -> None:
    """Config and exchange do not import each other."""
    assert list(get_args(Section.model_fields["provider"].annotation)) == [provider.value for provider in Provider]


def test_a_candidate_makes_a_split() -> None:
    """With its weight, its own salt, and stable as the first rescue; without one there is no split."""
    model = build(loaded({"models[0].candidate": "two", "models[0].weight": 2.5})).models["chat"]
    split = model.split
    assert split is not None
    assert (split.candidate.name, split.weight, split.sticky) == ("two", 2.5, "user")
    assert [(arm, one.name) for arm, one in split.choices] == [(Arm.CANDIDATE, "two"), (Arm.FALLBACK, "one")]
    assert {name: arm for name, (arm, _) in model.pins.items()} == {"one": Arm.STABLE, "two": Arm.CANDIDATE}
    assert 0 < len(split.salt) <= 64
    assert build(loaded()).models["chat"].split is None


def test_no_two_rollouts_draw_alike() -> None:
    """Another model, or another candidate: another salt."""
    third = {"deployments[2]": {**small()["deployments"][1], "name": "three"}}
    changes = [
        {"models[0].candidate": "two"},
        {"models[0].candidate": "three"},
        {"models[0].candidate": "two", "models[0].name": "other"},
    ]
    models = [next(iter(build(loaded({**third, **one, "models[0].weight": 5})).models.values())) for one in changes]
    assert len({model.split.salt for model in models if model.split is not None}) == 3
