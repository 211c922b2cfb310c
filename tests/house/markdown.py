"""What the house reads out of Markdown: headings, links and the shell blocks that readers are told to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.tree import ROOT, text

FENCE = re.compile(r"^```(?P<language>[^\n`]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- (?P<how>run: slow|not run: [^>]+?) -->\n+\Z")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?P<target>[^)\s]+)(?: \"[^\"]*\")?\)|!\[[^\]\n]*\]\((?P<image>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (?P<words>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of shell commands. `how` is `run`, `run: slow`, `not run: <reason>`, or empty."""

    page: Path
    line: int
    how: str
    commands: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def shell_blocks(page: Path, source: str | None = None) -> Iterator[Block]:
    """Every block fenced as `sh`, `bash`, `shell` or `console`, with what the page says about running it."""
    source = text(page) if source is None else source
    for fence in FENCE.finditer(source):
        language, *words = fence["language"].split() or [""]
        if language in {"sh", "bash", "shell", "console"}:
            mark = MARK.search(source[: fence.start()])
            how = mark["how"] if mark else " ".join(words)
            yield Block(page, source[: fence.start()].count("\n") + 1, how, fence["body"])


def prose(source: str) -> str:
    """A page without its fenced blocks and its inline code, where brackets are no links."""
    return re.sub(r"`[^`\n]+`", "", FENCE.sub("", source))


def anchors(source: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: lower case, punctuation gone, spaces become hyphens."""
    words = (heading["words"].strip().lower() for heading in HEADING.finditer(FENCE.sub("", source)))
    return {re.sub(r"[^\w\- ]", "", word).replace(" ", "-") for word in words}


def dead_links(page: Path, source: str) -> list[str]:
    """Targets inside the repository that lead nowhere. Other sites are not tried: tests have no network."""
    return [target for target in _targets(source) if "://" not in target and not _resolves(page, target, source)]


def _targets(source: str) -> Iterator[str]:
    return (link["target"] or link["image"] for link in LINK.finditer(prose(source)))


def _resolves(page: Path, target: str, source: str) -> bool:
    file, _, anchor = target.partition("#")
    path = (ROOT / page).parent / file if file else ROOT / page
    if not path.exists():
        return False
    if not anchor:
        return True
    return anchor in anchors(path.read_text(encoding="utf-8") if file else source)
