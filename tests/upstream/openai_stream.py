"""Streamed answers of the OpenAI dialect. Chunks are put together from bytes that are made once per choice.

One step is what leaves at one moment: a chunk per choice. vLLM lets the finish ride on the last token's chunk when the
answer was cut by its length and sends one more, empty chunk otherwise; OpenAI always sends one more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from tests.upstream.dialect import Answer, Ask, Choice, Step, Tool
from tests.upstream.openai_whole import chat_logprobs, completion_logprobs, is_openai, usage
from tests.upstream.words import quoted


class Delta(NamedTuple):
    """What one chunk adds: the JSON of `delta` (chat) or `text` (completions), its tokens, how many were made."""

    data: bytes
    tokens: tuple[str, ...]
    made: int
    plain: bool  # content


class Chunks:
    """Writes the chunks of one stream."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._openai = is_openai(ask)
        self._chat = ask.operation == "chat"
        self._fingerprint = orjson.dumps(ask.fingerprint)
        kind = b"chat.completion.chunk" if self._chat else b"text_completion"
        opening = b'{"id":%b,"object":"%b","created":%d,"model":%b,' % (
            orjson.dumps(ask.answer_id),
            kind,
            ask.created,
            orjson.dumps(ask.model),
        )
        if self._openai:
            opening += b'"service_tier":"default",' if self._chat else b""
            opening += b'"system_fingerprint":%b,' % self._fingerprint
        self.opening = opening + b'"choices":['
        self._key = b"delta" if self._chat else b"text"
        self._extras = (
            b""
            if self._openai
            else b',"token_ids":null'
            if self._chat
            else b',"stop_reason":null,"prompt_token_ids":null,"token_ids":null'
        )
        self._made = [0] * len(ask.sizes) * ask.choices

    def before(self, index: int) -> bytes:
        """Everything up to the delta."""
        return b'%b{"index":%d,"%b":' % (self.opening, index, self._key)

    def plain_end(self) -> bytes:
        """Everything after the delta of a chunk that is neither the last nor has logprobs nor usage of its own."""
        return b',"logprobs":null,"finish_reason":null%b}]%b}' % (self._extras, self.usage_so_far(0, 0))

    def end(self, index: int, *, logprobs: bytes = b"null", finish: str | None = None, count: int = 0) -> bytes:
        """Everything after the delta of any other chunk."""
        reason, last = b"null", b""
        extras = self._extras
        if finish is not None:
            reason = b'"%b"' % finish.encode()
            extras = b',"stop_reason":null' + extras if self._chat and not self._openai else extras
            last = b"" if self._openai or self._ask.include_usage else b',"system_fingerprint":%b' % self._fingerprint
        return b',"logprobs":%b,"finish_reason":%b%b}]%b%b}' % (
            logprobs,
            reason,
            extras,
            self.usage_so_far(index, count),
            last,
        )

    def role(self, index: int) -> bytes:
        """Chat's first chunk of a choice."""
        delta = (
            b'{"role":"assistant","content":"","refusal":null}'
            if self._openai
            else b'{"role":"assistant","content":""}'
        )
        rest = b"" if self._openai else b',"prompt_token_ids":null,"prompt_text":null'
        return b'%b%b,"logprobs":null,"finish_reason":null}]%b%b}' % (
            self.before(index),
            delta,
            self.usage_so_far(index, 0),
            rest,
        )

    def usage_so_far(self, index: int, count: int) -> bytes:
        """`continuous_usage_stats`: this choice and its prompt alone; OpenAI writes null where usage was asked for."""
        self._made[index] += count
        if self._openai:
            return b',"usage":null' if self._ask.include_usage else b""
        if not self._ask.continuous_usage or not self._ask.behaviour.usage_factor:
            return b""
        prompt, made = self._ask.sizes[index // self._ask.choices], self._made[index]
        return (
            b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d,"completion_tokens_details":null}'
            % (prompt, prompt + made, made)
        )

    def usage(self, answer: Answer) -> bytes:
        """The usage chunk, with no choices."""
        assert answer.usage
        numbers = orjson.dumps(usage(self._ask, answer, answer.usage, streamed=True))
        last = b"" if self._openai else b',"system_fingerprint":%b' % self._fingerprint
        return b'%b],"usage":%b%b}' % (self.opening, numbers, last)


def steps(ask: Ask, answer: Answer) -> list[Step]:
    """The whole stream."""
    chunks = Chunks(ask)
    roles = [chunks.role(choice.index) for choice in answer.choices] if ask.operation == "chat" else []
    made: list[Step] = []
    if len(answer.choices) == 1 and ask.logprobs is None and not ask.continuous_usage:
        _one_choice(ask, chunks, answer.choices[0], made)
    else:
        _any_choices(ask, chunks, answer.choices, made)
    made[0].events[:0] = roles
    if ask.include_usage and answer.usage:
        made[-1].events.append(chunks.usage(answer))
    if ask.behaviour.done:
        made[-1].events.append(b"[DONE]")
    return made


def _one_choice(ask: Ask, chunks: Chunks, choice: Choice, made: list[Step]) -> None:
    """The common case, fast."""
    before, end = chunks.before(choice.index), chunks.plain_end()
    if ask.behaviour.multi == 1 and choice.content and choice.tokens == len(choice.content) and not ask.echo:
        form = before + (b'{"content":%b}' if ask.operation == "chat" else b"%b") + end
        made.extend([Step([form % text], 1) for text in quoted(choice.content)])
    else:
        made.extend([Step([before + delta.data + end], delta.made) for delta in _deltas(ask, choice)])
    if not ask.behaviour.finish:
        made.extend([] if made else [Step([], 0)])
    elif choice.finish == "length" and made and not is_openai(ask):
        made[-1].events[-1] = made[-1].events[-1].removesuffix(end) + chunks.end(choice.index, finish=choice.finish)
    else:
        last = before + _nothing(ask) + chunks.end(choice.index, finish=choice.finish)
        if made:
            made[-1].events.append(last)
        else:
            made.append(Step([last], 0))


def _any_choices(ask: Ask, chunks: Chunks, choices: list[Choice], made: list[Step]) -> None:
    """Several choices take turns; logprobs and running usage are written chunk by chunk."""
    lists = [list(_deltas(ask, choice)) for choice in choices]
    sent = [0] * len(choices)
    for turn in range(max((len(deltas) for deltas in lists), default=0) or 1):
        step = Step([], 0)
        for choice, deltas in zip(choices, lists, strict=True):
            step.events += _turn(ask, chunks, choice, deltas, turn, sent)
            step.tokens += deltas[turn].made if turn < len(deltas) else 0
        made.append(step)


def _turn(ask: Ask, chunks: Chunks, choice: Choice, deltas: list[Delta], turn: int, sent: list[int]) -> Iterator[bytes]:
    """The chunks of one choice at one turn: a token, and the end after the last one."""
    last = turn == max(len(deltas) - 1, 0)
    rides = choice.finish == "length" and not is_openai(ask) and bool(deltas)
    before = chunks.before(choice.index)
    if turn < len(deltas):
        delta = deltas[turn]
        logprobs = b"null"
        if ask.logprobs is not None and delta.plain:
            position = sent[choice.index]
            logprobs = orjson.dumps(_logprobs(ask, delta.tokens, position))
            sent[choice.index] += len(delta.tokens)
        finish = choice.finish if last and rides and ask.behaviour.finish else None
        yield before + delta.data + chunks.end(choice.index, logprobs=logprobs, finish=finish, count=delta.made)
    if last and not rides and ask.behaviour.finish:
        yield before + _nothing(ask) + chunks.end(choice.index, finish=choice.finish)


def _logprobs(ask: Ask, tokens: tuple[str, ...], position: int) -> object:
    top = ask.logprobs or 0
    if ask.operation == "chat":
        return {"content": chat_logprobs(tokens, top, position)}
    return completion_logprobs(tokens, top, position, 0)


def _nothing(ask: Ask) -> bytes:
    return b"{}" if ask.operation == "chat" else b'""'


def _deltas(ask: Ask, choice: Choice) -> Iterator[Delta]:
    chat = ask.operation == "chat"
    multi = ask.behaviour.multi
    if chat:
        if not is_openai(ask):  # OpenAI counts what its models think, and keeps it to itself
            yield from _texts(b'{"reasoning":%b}', choice.reasoning, multi, plain=False)
        yield from _texts(b'{"refusal":%b}', choice.refusal, multi, plain=False)
    elif ask.echo:
        yield Delta(orjson.dumps(ask.prompts[choice.index // ask.choices]), (), 0, plain=False)
    yield from _texts(b'{"content":%b}' if chat else b"%b", choice.content, multi, plain=True)
    for position, tool in enumerate(choice.tools):
        yield from _tool_deltas(position, tool)


def _texts(form: bytes, tokens: tuple[str, ...], multi: int, *, plain: bool) -> Iterator[Delta]:
    if multi == 1:
        for token, text in zip(tokens, quoted(tokens), strict=True):
            yield Delta(form % text, (token,), 1, plain)
        return
    for k in range(0, len(tokens), multi):
        some = tokens[k : k + multi]
        yield Delta(form % orjson.dumps("".join(some)), some, len(some), plain)


def _tool_deltas(position: int, tool: Tool) -> Iterator[Delta]:
    first = {
        "content": None,
        "tool_calls": [{"id": tool.id, "type": "function", "index": position, "function": {"name": tool.name}}],
    }
    yield Delta(orjson.dumps(first), (), 1, plain=False)
    for part in tool.parts:
        more = {"content": None, "tool_calls": [{"index": position, "function": {"arguments": part}}]}
        yield Delta(orjson.dumps(more), (), 1, plain=False)
