"""Generated HTTP/1.1 responses, right and wrong, and what sets this client apart from h11 on purpose."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import strategies as st

from tests.providers.wire import Verdict

VERSIONS = st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1"])
STATUSES = st.sampled_from(
    [b"200 OK"] * 8 + [b"200", b"204 No Content", b"304 X", b"429 Too Many", b"503 a b", b"101 S", b"099 a", b"20 x"]
)
FIELDS = st.sampled_from(
    [b"a: b", b"A:b", b"x-y:  c \t", b"Set-Cookie: q", b"set-cookie: r", b"connection: close", b"e:", b"t: \xff"] * 2
    + [b"connection: keep-alive", b"Connection: Upgrade", b"upgrade: h2c", b"content-type: text/event-stream"] * 2
    + [b"bad name: x", b"n : x", b" fold", b"\tfold", b"t: \x00", b"t: \x01", b"t: a\rb", b": x", b"nocolon"]
)  # fmt: skip
INTERIM = st.sampled_from(
    [b"", b"", b"link: a\r\n", b"connection: close\r\n", b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n"]
)
CHUNKS = st.sampled_from(
    [b"5\r\nhello\r\n", b"1;ext=1\r\nx\r\n", b"A\r\n0123456789\r\n", b'0005;a="b"\r\nhello\r\n', b"03\r\nabc\r\n"] * 3
    + [b"3 \r\nabc\r\n", b"3\r\nabcd\r\n", b"-1\r\n", b"g\r\n", b"3\nabc\n", b"F" * 18 + b"\r\n", b" 3\r\nabc\r\n"]
    + [b"\r\n", b"3\r\nab\r\n", b"0x3\r\nabc\r\n"]
)
LAST_CHUNKS = st.sampled_from(
    [b"0\r\n\r\n", b"0\r\nt: v\r\n\r\n", b"0;x\r\n\r\n", b"00\r\n\r\n"] * 3
    + [b"0\r\n", b"", b"0\n\n", b"0\r\nbad\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n"]
    + [b"0\r\ntransfer-encoding: chunked\r\n\r\n"]
)
LENGTHS = st.sampled_from([b"content-length: %d"] * 8 + [b"Content-Length:%d ", b"content-length: +%d", b"length: %d"])
CODINGS = st.sampled_from(
    [b"transfer-encoding: chunked"] * 8
    + [b"Transfer-Encoding: Chunked ", b"transfer-encoding: gzip, chunked", b"transfer-encoding: identity"]
)
AFTER = st.sampled_from([b"", b"", b"", b"junk", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])


@st.composite
def framed(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """The header fields that frame a body, and the body, not always in agreement."""
    body = draw(st.binary(max_size=20))
    match draw(st.integers(0, 2)):
        case 0:
            return [], body
        case 1:
            fields = [draw(LENGTHS) % max(0, len(body) + draw(st.sampled_from([0] * 8 + [-1, 1])))]
            repeats = draw(
                st.sampled_from([[]] * 8 + [fields, [b"content-length: 2"], [b"transfer-encoding: chunked"]])
            )
            return fields + repeats, body
        case _:
            fields = [draw(CODINGS)] * draw(st.sampled_from([1] * 8 + [2]))
            return fields, b"".join(draw(st.lists(CHUNKS, max_size=4))) + draw(LAST_CHUNKS)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """What an upstream might send, mostly well formed."""
    interims = draw(st.lists(st.tuples(st.sampled_from([b"100 Continue", b"103 H", b"199 q"]), INTERIM), max_size=2))
    fields, body = draw(framed())
    fields = draw(st.permutations(fields + draw(st.lists(FIELDS, max_size=3))))
    end = draw(st.sampled_from([b"\r\n"] * 15 + [b"\n"]))
    head = end.join([draw(VERSIONS) + b" " + draw(STATUSES), *fields]) + end + end
    sent = b"".join(b"HTTP/1.1 %s\r\n%s\r\n" % interim for interim in interims) + head + body + draw(AFTER)
    if draw(st.integers(0, 3)) == 0:
        sent = draw(mutated(sent))
    return sent


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """With a byte changed, put in or taken out, or cut short."""
    where = draw(st.integers(0, len(data)))
    byte = draw(st.sampled_from([b"\n", b"\r", b" ", b":", b"0", b"\0", b"\xff", b"A"]))
    kept = draw(st.sampled_from([data[where:], data[where + 1 :], b""]))
    return data[:where] + draw(st.sampled_from([b"", byte])) + kept


@st.composite
def split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes in up to seven pieces, cut anywhere, or where lines end, as servers do that write chunk by chunk."""
    lines = [at + 2 for at in range(len(data)) if data.startswith(b"\r\n", at)]
    anywhere = st.lists(st.integers(0, len(data)), max_size=4)
    cuts = sorted(draw(st.one_of(anywhere, st.lists(st.sampled_from(lines), max_size=6)) if lines else anywhere))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)]) if a < b]


STRICTER = (
    # RFC 9112 gives a recipient the choice between repair and refusal; a gateway that repairs may frame a response
    # otherwise than the next hop does.
    "Unexpected whitespace after header value",  # obs-fold (5.2)
    "Missing expected CR",  # bare LF as a line's end (2.2)
    "Invalid response status",  # the same, behind a status without a reason
    "Invalid header field char",  # the same, in an empty line
    "Invalid header value char",  # control characters in values (RFC 9110, 5.5)
    "Duplicate Content-Length",  # also where both are equal (6.3)
    "Invalid character in Content-Length",  # lists: `11, 11` (6.3)
    "Transfer-Encoding can't be present with Content-Length",  # (6.3)
    "Content-Length can't be present with Transfer-Encoding",  # the same, also as a trailer (RFC 9110, 6.5.1)
    "transfer-encoding",  # as a trailer
    "Invalid character in chunk size",  # spaces behind it (7.1.1)
    "Invalid character in chunk extensions",  # (7.1.1)
    "Invalid HTTP version",  # versions that never were
    # An interim response that closes the connection or has a body is not one.
    "Data after `Connection: close`",
    "an interim response with a body",
    "Expected HTTP/",  # what follows that body
)  # fmt: skip


def tolerated(data: bytes) -> str | None:
    """Why a response that h11 rejects may be delivered; None where it may not."""
    if re.search(rb"(?:^|\r\n\r\n)[\r\n]+HTTP/", data):
        return "llhttp skips empty lines before a status line: nothing can hide in them"
    if any(line.startswith(b"HTTP/") and b"\0" in line for line in data.split(b"\n")):
        return "the reason phrase is dropped unread"
    return None


def comparable(verdict: Verdict) -> tuple[object, ...]:
    """Status, headers and body; h11 writes the framing fields in its own way."""
    framing = {"transfer-encoding", "content-length"}
    headers = tuple((name, value.lower() if name in framing else value) for name, value in verdict.headers)
    return verdict.status, headers, verdict.body
