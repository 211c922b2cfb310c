"""`/_control/*`: how a test steers a running server and reads what it saw.

GET  /_control/log[?since=SEQ]     requests that are over, oldest first (`state.Record`)
GET  /_control/requests            the last 100 requests as they came: headers and body
GET  /_control/stats               counters
GET  /_control/violations          what must not have happened
GET  /_control/settings            `state.Settings`
POST /_control/set                 a JSON object of settings to change
POST /_control/reset               settings of the start; counters, log and violations empty; open answers broken off
"""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import parse_qs

import orjson

from tests.upstream.openai import OpenAI
from tests.upstream.serve import Service
from tests.upstream.wire import Exchange


def control(exchange: Exchange, service: Service) -> None:
    """Answer a control request."""
    state = service.state
    path, _, query = exchange.path.removeprefix("/_control/").partition("?")
    if (exchange.method, path) == ("GET", "log"):
        since = int(parse_qs(query).get("since", ["0"])[0])
        exchange.reply(200, orjson.dumps([record.document() for record in state.log if record.seq > since]))
    elif (exchange.method, path) == ("GET", "requests"):
        exchange.reply(200, orjson.dumps([received.document() for received in state.requests]))
    elif (exchange.method, path) == ("GET", "stats"):
        exchange.reply(200, orjson.dumps(state.stats()))
    elif (exchange.method, path) == ("GET", "violations"):
        exchange.reply(200, orjson.dumps(state.violations))
    elif (exchange.method, path) == ("GET", "settings"):
        exchange.reply(200, orjson.dumps(asdict(state.settings)))
    elif (exchange.method, path) == ("POST", "reset"):
        for player in list(service.players):
            player.abandon()
            player.exchange.reset()
        state.reset()
        exchange.reply(200, b"{}")
    elif (exchange.method, path) == ("POST", "set"):
        _set(exchange, service)
    else:
        exchange.reply(404, b'{"detail":"no such control"}')


def _set(exchange: Exchange, service: Service) -> None:
    before = service.state.settings.engine
    try:
        service.state.change(orjson.loads(exchange.body))
    except (KeyError, ValueError, TypeError) as problem:
        exchange.reply(400, orjson.dumps({"detail": f"{type(problem).__name__}: {problem}"}))
        return
    after = service.state.settings.engine
    if after != before and after == "dead":
        service.engine_died(OpenAI())
    if after != before and after == "silent":
        service.went_silent()
    exchange.reply(200, orjson.dumps(asdict(service.state.settings)))
