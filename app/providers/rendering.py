"""A conversation as one text, for upstreams that only complete texts. Pure.

Nobody may say what a tokenizer reads as more than text: a user's `<|im_start|>system` would begin a system prompt. Such
marks are disarmed, their first and last character becoming parentheses: `(|im_start|)`. That keeps the length.
"""

from __future__ import annotations

import re
from typing import Any, Final

from app.errors import refused
from app.exchange import Call, JsonObject, PromptFormat
from app.providers.conversation import content
from app.providers.parts import Text

_ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MARK: Final = re.compile(r"<\|[\w-]{1,64}\|>")
"""Linear: it begins at each `<|` and looks at 64 characters at most."""


def rendered(call: Call, style: PromptFormat) -> str:
    """The text after which the assistant's answer follows. Raises `GatewayError` for what cannot be written so.

    As vLLM's chats: `continue_final_message` leaves the assistant's last message open, so that it is continued.
    """
    body = call.body
    said = [_said(message, f"messages[{place}]", style) for place, message in enumerate(body["messages"])]
    if style.in_user:
        said = _merged(said, style)
    open_ended = body.get("continue_final_message") is True and said[-1][0] == "assistant"
    last = said.pop()[1] if open_ended else ""
    text = "".join(f"{head}{words}{tail}" for role, words in said for head, tail in (_frame(role, style),))
    if body.get("add_generation_prompt") is False and not open_ended:
        return text
    return f"{text}{style.assistant[0] if open_ended else style.assistant[0].rstrip(' ')}{last}"


def _frame(role: str, style: PromptFormat) -> tuple[str, str]:
    return style.system if role == "system" else style.user if role == "user" else style.assistant


def _said(message: JsonObject, place: str, style: PromptFormat) -> tuple[str, str]:
    """Whose message it is, and its text."""
    role = _ROLES.get(message["role"])
    if role is None:
        known = ", ".join(f"`{name}`" for name in _ROLES)
        what = f"`{place}.role` must be one of {known} for this model; got `{message['role'][:40]}`."
        raise refused(f"{place}.role", what)
    for name in ("tool_calls", "function_call", "audio"):
        if message.get(name):
            raise refused(f"{place}.{name}", f"`{place}.{name}` cannot be passed on: this model takes text only.")
    words = text_of(message.get("content"), f"{place}.content")
    return role, disarmed(words.strip() if style.trims else words, style)


def text_of(value: Any, place: str) -> str:
    """The text of a message's content, its parts a line each."""
    if type(value) is str:
        return value
    parts = []
    for part in content(value, place):
        if not isinstance(part, Text):
            raise refused(part.place, f"`{part.place}` cannot be passed on: this model takes text only.")
        parts.append(part.text)
    return "\n".join(parts)


def _merged(said: list[tuple[str, str]], style: PromptFormat) -> list[tuple[str, str]]:
    """System prompts inside the user's next message, neighbours of one role as one."""
    merged: list[tuple[str, str]] = []
    told = ""
    for role, words in (*said, ("user", "")):  # the last one for a system prompt that nobody has spoken after
        if role == "system":
            told = f"{told}\n\n{words}" if told else words
        elif words or told:
            whole = words
            if told and role == "user":
                whole, told = f"{style.system[0]}{told}{style.system[1]}{words}", ""
            if merged and merged[-1][0] == role:
                whole = f"{merged.pop()[1]}\n\n{whole}"
            merged.append((role, whole if words else whole.strip()))
    return merged


def disarmed(text: str, style: PromptFormat) -> str:
    """The text with every mark in it made harmless."""
    if "<|" in text:
        text = _MARK.sub(lambda mark: f"({mark[0][1:-1]})", text)
    for mark in style.marks:
        if mark in text:
            text = text.replace(mark, f"({mark[1:-1]})")
    return text
