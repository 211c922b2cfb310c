"""Chunks of a chat completion as events of a response."""

from __future__ import annotations

from typing import Any

import orjson

from app.api.chunks import ChunkWriter
from app.api.responses import answer
from app.api.surface import string
from app.errors import GatewayError
from app.exchange import Event, JsonObject
from app.pipeline.progress import Progress

_DELTA = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":%b,"output_index":%d,'
    b'"content_index":0,"delta":%b,"logprobs":%b,"sequence_number":%d}\n\n'
)
_NAMES = {"text": "output_text", "refusal": "refusal", "reasoning": "reasoning_text"}


class ResponsesWriter(ChunkWriter):
    """Writes one response: items, one after the other, of kind text, refusal, reasoning or call."""

    __slots__ = ("_blocks", "_call", "_id", "_pieces", "_response", "_sequence")

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self._response: JsonObject | None = None
        self._sequence = -1
        self._id = ""
        self._pieces: list[str] = []
        self._blocks: list[JsonObject] = []
        self._call: JsonObject = {}

    def _whole(self, event: Event) -> JsonObject:
        return answer.whole(event.doc, event.usage, self._progress)

    def _last(self, error: GatewayError | None) -> list[bytes]:
        """The last item's end and the whole response; or what went wrong, in the response and as an error."""
        out: list[bytes] = []
        response = self._begin({}, out)
        if error is None:
            self._close(out)
            answer.finished(response, self._ending, self._usage)
            self._tell(f"response.{response['status']}", out, response=response)
            return out
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        response |= {"status": "failed", "error": {"code": code, "message": error.message}}
        response["usage"] = answer.usage_document(self._usage)
        self._tell("response.failed", out, response=response)
        self._tell("error", out, code=error.code_name, message=error.message, param=error.param, **error.document())
        return out

    def _tell(self, kind: str, out: list[bytes], **fields: Any) -> None:
        self._sequence += 1
        doc = {"type": kind, **fields, "sequence_number": self._sequence}
        out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(doc)))

    def _begin(self, doc: JsonObject, out: list[bytes]) -> JsonObject:
        response = self._response
        if response is None:
            response = self._response = answer.frame(self._progress, doc.get("model"))
            self._tell("response.created", out, response=response)
            self._tell("response.in_progress", out, response=response)
        return response

    def _take(self, delta: JsonObject, choice: JsonObject, out: list[bytes]) -> None:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            self._say("reasoning", string(thought), out)
        for block in delta.get("thinking_blocks") or ():
            if type(block) is not dict:
                raise TypeError("a block of what was thought is no object")
            if self._kind != "reasoning":
                self._open("reasoning", out)
            if block["type"] == "thinking":
                block = {**block, "thinking": "".join(self._pieces)}  # noqa: PLW2901  # the text came before it
            self._blocks.append(block)
        text = delta.get("content")
        if text:
            said = string(text)
            if self._kind != "text":
                self._open("text", out)
            self._pieces.append(said)
            self._sequence += 1
            place, known = len(self._output) - 1, orjson.dumps(self._id)
            told = orjson.dumps((choice.get("logprobs") or {}).get("content") or [])
            out.append(_DELTA % (known, place, orjson.dumps(text), told, self._sequence))
        if delta.get("refusal"):
            self._say("refusal", string(delta["refusal"]), out)
        for call in delta.get("tool_calls") or ():
            self._called(call, out)

    @property
    def _output(self) -> list[JsonObject]:
        output: list[JsonObject] = self._response["output"] if self._response is not None else []
        return output

    def _say(self, kind: str, text: str, out: list[bytes]) -> None:
        if self._kind != kind:
            self._open(kind, out)
        self._pieces.append(text)
        self._tell(f"response.{_NAMES[kind]}.delta", out, **self._where(), content_index=0, delta=text)

    def _where(self) -> JsonObject:
        return {"item_id": self._id, "output_index": len(self._output) - 1}

    def _called(self, call: JsonObject, out: list[bytes]) -> None:
        function = call.get("function") or {}
        if self._fresh(call, "call"):
            self._close(out)
            self._call = {**call, "function": {"name": function.get("name")}}
            self._open("call", out)
        text = function.get("arguments")
        if text:
            self._pieces.append(string(text))
            self._tell("response.function_call_arguments.delta", out, **self._where(), delta=text)

    def _open(self, kind: str, out: list[bytes]) -> None:
        self._close(out)
        self._kind, self._pieces, self._blocks = kind, [], []
        prefix = {"reasoning": "rs", "call": "fc"}.get(kind, "msg")
        self._id = answer.ids(self._progress.request_id, prefix, len(self._output))
        self._output.append(self._item("in_progress"))
        self._tell("response.output_item.added", out, output_index=len(self._output) - 1, item=self._output[-1])
        if kind != "call":
            self._tell("response.content_part.added", out, **self._where(), content_index=0, part=self._part())

    def _part(self) -> JsonObject:
        text = "".join(self._pieces)
        if self._kind == "text":
            return answer.text_part(text)
        return (
            {"type": "refusal", "refusal": text}
            if self._kind == "refusal"
            else {"type": "reasoning_text", "text": text}
        )

    def _item(self, status: str) -> JsonObject:
        text = "".join(self._pieces)
        if self._kind == "call":
            return answer.call_item(self._id, self._call, text, status)
        if self._kind == "reasoning":
            return answer.reasoning_item(self._id, text, self._blocks, status)
        return answer.message_item(self._id, [self._part()] if status != "in_progress" else [], status)

    def _close(self, out: list[bytes]) -> None:
        """The end of the open item."""
        kind = self._kind
        if not kind:
            return
        text = "".join(self._pieces)
        if kind == "call":
            self._tell(
                "response.function_call_arguments.done",
                out,
                **self._where(),
                arguments=text,
                name=self._call["function"]["name"],
            )
        else:
            field = {"refusal": {"refusal": text}}.get(kind, {"text": text})
            extra: JsonObject = {"logprobs": []} if kind == "text" else {}
            self._tell(f"response.{_NAMES[kind]}.done", out, **self._where(), content_index=0, **field, **extra)
            self._tell("response.content_part.done", out, **self._where(), content_index=0, part=self._part())
        self._output[-1] = self._item("completed")
        self._tell("response.output_item.done", out, output_index=len(self._output) - 1, item=self._output[-1])
        self._kind = ""
