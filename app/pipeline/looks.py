"""What can be said of an answer by looking at it: refused, cut short, in the format that was asked, like another one.

Pure. Whether an answer refuses is told by what it declares and by how refusals begin in eight languages: a heuristic,
the same for both arms, so that its mistakes say nothing about either.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from app.exchange import JsonObject
from app.pipeline.transcript import ToolCall, Transcript

COMPARED = 8000
"""Characters of each text that are compared at most."""
_OPENING = 200
_GRAM = 3
_REFUSALS = re.compile(
    r"\bi(?:'m| am) (?:sorry|afraid|unable|not able)\b|\bi (?:can't|cannot|can not|won't|will not|must decline)\b"
    r"|\btut mir leid\b|\bich (?:kann|darf|werde)\b[^.!?]{0,60}\bnicht\b"
    r"|\bje suis (?:vraiment )?désolée?\b|\bdésolée?, |\bje ne (?:peux|suis) pas\b"
    r"|\blo siento\b|\bno puedo\b|\bmi dispiace\b|\bnon posso\b"
    r"|\bsinto muito\b|\bdesculpe\b|\bnão posso\b"
    r"|申し訳(?:ありません|ございません)|(?:お手伝い|お答え|提供)(?:は)?できません|抱歉|对不起|我(?:无法|不能)",
    re.IGNORECASE,
)


def refused(said: Transcript) -> bool:
    """Whether the answer declines to give what was asked."""
    if said.refusal or said.finish == "content_filter":
        return True
    return not said.tools and _REFUSALS.search(said.text[:_OPENING].replace("\u2019", "'")) is not None


def truncated(said: Transcript) -> bool:
    """Whether the answer ended because it was long enough."""
    return said.finish == "length"


def wants_format(body: JsonObject) -> bool:
    """Whether a request asks for JSON."""
    wanted = body.get("response_format")
    return type(wanted) is dict and wanted.get("type") in ("json_object", "json_schema")


def format_ok(body: JsonObject, said: Transcript) -> bool | None:
    """Whether the answer is the JSON that was asked for.

    None where none was, where the answer calls tools instead or is too long to be judged, and where the schema is none.
    """
    if not wants_format(body) or said.tools or said.cut:
        return None
    wanted = body["response_format"]
    try:
        answer = orjson.loads(said.text)
    except orjson.JSONDecodeError:
        return False
    if wanted["type"] == "json_object":
        return isinstance(answer, dict)
    described = wanted.get("json_schema")
    schema = described.get("schema") if type(described) is dict else None
    if type(schema) is not dict:
        return None
    validator = _validator(orjson.dumps(schema))
    return None if validator is None else validator.is_valid(answer)


def same_tools(one: tuple[ToolCall, ...], other: tuple[ToolCall, ...]) -> bool | None:
    """Whether both call the same tools with the same arguments, in whatever order; None where neither calls any."""
    if not one and not other:
        return None
    return Counter(map(_called, one)) == Counter(map(_called, other))


def similarity(one: str, other: str) -> float:
    """How much two texts share, from 0 to 1: Dice's coefficient of their three-letter pieces, case and spaces apart."""
    if one == other:
        return 1.0
    first, second = _pieces(one), _pieces(other)
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def _pieces(text: str) -> Counter[str]:
    plain = f" {' '.join(text[:COMPARED].casefold().split())} "
    return Counter(plain[start : start + _GRAM] for start in range(len(plain) - _GRAM + 1))


def _called(call: ToolCall) -> tuple[str, bytes]:
    try:
        return call.name, orjson.dumps(orjson.loads(call.arguments), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return call.name, call.arguments.encode("utf-8", "surrogatepass")


@lru_cache(256)
def _validator(schema: bytes) -> Any:
    """None where this is no schema. Patterns run in linear time, and nothing is fetched: callers write schemas."""
    try:
        return jsonschema_rs.validator_for(
            orjson.loads(schema), retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ReferencingError):
        return None


def _refuse(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri[:100]}")
