"""The documentation is true: links lead somewhere, tables are those of the code, and commands run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import CODES, Outcome
from app.logs import LOG_FIELDS
from app.semconv import SPAN_ATTRIBUTES
from app.telemetry import METRICS
from scripts.docs import BLOCK, commands, rendered
from tests.house.markdown import Block, anchors, dead_links, shell_blocks
from tests.house.tree import ROOT, markdown_files, text

PAGES = markdown_files()
BLOCKS = [block for page in PAGES for block in shell_blocks(page)]

REFERENCE = {
    "docs/errors.md": [*CODES, *Outcome],
    "docs/metrics.md": [*(metric.name for metric in METRICS), *LOG_FIELDS],
    "docs/traces.md": [*SPAN_ATTRIBUTES],
}
"""What each reference page must tell about, one table row each."""


def run(block: Block) -> subprocess.CompletedProcess[str]:
    """Run a block as a reader would, at the root of the checkout, with the environment's commands on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block.commands]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_resolves(page: Path) -> None:
    """To a file of the repository, and to a heading where an anchor is given."""
    assert not dead_links(page, text(page))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_generated_tables_are_those_of_the_code(page: Path) -> None:
    """`make docs` writes them; nobody edits them by hand or forgets them."""
    assert rendered(text(page)) == text(page)


@pytest.mark.parametrize("page", REFERENCE)
def test_reference_pages_tell_about_everything_once(page: str) -> None:
    """Each name has exactly one row, and no row is about something that is gone."""
    generated = "".join(block[0] for block in BLOCK.finditer(text(Path(page))))
    rows = [line.split("`")[1] for line in generated.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(REFERENCE[page])


def test_the_command_line_page_has_every_command() -> None:
    """One heading each, for groups too."""
    headings = re.findall(r"^## (.+)$", text(Path("docs/cli.md")), re.MULTILINE)
    assert headings == list(commands())


def test_every_shell_block_says_whether_it_runs() -> None:
    """Fence it as `sh run`, or put `<!-- run: slow -->` or `<!-- not run: reason -->` above it."""
    assert not [str(block) for block in BLOCKS if not block.how]


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.how == "run"], ids=str)
def test_commands_in_the_docs_run(block: Block) -> None:
    """They end with exit status 0."""
    result = run(block)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_slow_commands_in_the_docs_run() -> None:
    """As above, for those that take minutes."""
    results = {str(block): run(block) for block in BLOCKS if block.how == "run: slow"}
    assert not {place: result.stderr for place, result in results.items() if result.returncode}


SAMPLE = """# A page, with `code`
[good](#a-page-with-code) [bad](#nowhere) [gone](gone.md) [out](https://example.com/x) `[no](link.md)`

```sh run
true
```

<!-- not run: needs a cluster -->
```sh
helm
```

```bash
false
```
"""


def test_dead_links_are_found() -> None:
    """An anchor without heading and a file that is not there; code and other sites are left alone."""
    assert dead_links(Path("README.md"), SAMPLE) == ["#nowhere", "gone.md"]


def test_anchors_are_made_as_github_makes_them() -> None:
    """Punctuation goes, spaces become hyphens, comments in shell blocks are no headings."""
    assert anchors("## Hello, `world`: 2 − 1\n```sh\n# no heading\n```\n") == {"hello-world-2--1"}


def test_blocks_are_read_with_their_marks() -> None:
    """Language, mark, and nothing for a block that says nothing."""
    hows = [block.how for block in shell_blocks(Path("README.md"), SAMPLE)]
    assert hows == ["run", "not run: needs a cluster", ""]
