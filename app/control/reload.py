"""A changed file takes effect without a restart: validated first, then one swap; a bad file changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config import Config, ConfigError, Problem, load, read, redacted, restart_only, secret_files
from app.table import State, Table, build

_Stamp = tuple[int, int, int] | None
_Stamps = dict[Path, _Stamp]


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What came of a reload.

    `changed`: another table is in force. `version`: the one in force now. `problems`: why the file was refused; then
    nothing changed. `warnings`: settings of the file that wait for a restart.
    """

    changed: bool
    version: str
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Reloader:
    """Keeps the running table equal to the file at `path`.

    `running` is the configuration that `state.table` was built from; `overrides` are the command line's settings, as
    for `load`; `make` is `table.build`, with what does not stand in the file. `on_reload` is told of every reload that
    was asked for or found something, after the swap. One runs at a time.
    """

    def __init__(
        self,
        path: Path,
        state: State,
        running: Config,
        environ: Mapping[str, str],
        *,
        overrides: Mapping[str, object] | None = None,
        on_reload: Sequence[Callable[[ReloadResult], None]] = (),
        make: Callable[[Config], Table] = build,
        every: float = 1.0,
    ) -> None:
        self.config = running
        self._path = path
        self._state = state
        self._environ = environ
        self._overrides = dict(overrides or {})
        self.prepare: Callable[[Config], None] | None = None
        """Makes ready, in a thread, what a configuration needs before it is in force; `ConfigError` refuses it."""
        self._on_reload = tuple(on_reload)
        self._make = make
        self._every = every
        self._seen: _Stamps = {path: None}
        self._lock = asyncio.Lock()
        self._asked = asyncio.Event()

    async def reload(self) -> ReloadResult:
        """Read the file now. Reading and validating happen in a thread: requests go on meanwhile."""
        return await self._reload(asked=True)

    def rebuild(self) -> None:
        """Build the table again, because what does not stand in the file has changed."""
        self._state.table = self._make(self.config)

    def ask(self) -> None:
        """Have `watch` reload at once; for a signal handler."""
        self._asked.set()

    async def watch(self) -> None:
        """Reload whenever the file, or a secret's file that it refers to, has changed; runs until cancelled.

        Files are looked at every `every` seconds. A change counts once it has held still between two looks, so that
        a file which is being written is not taken for a shorter one. The first look finds what changed since start.
        """
        before: _Stamps = {}
        while True:
            asked = await self._pause()
            now = await asyncio.to_thread(_stamps, self._seen)
            if asked or (now != self._seen and now == before):
                await self._reload(asked=asked)
            before = now

    async def _reload(self, *, asked: bool) -> ReloadResult:
        async with self._lock:
            result = await self._attempt()
            if asked or result.changed or result.problems or result.warnings:
                for listener in self._on_reload:
                    listener(result)
        return result

    async def _attempt(self) -> ReloadResult:
        warnings: list[Problem] = []
        try:
            wanted = await asyncio.to_thread(self._load, warnings)
            changed = wanted != self.config
            if changed and self.prepare is not None:
                await asyncio.to_thread(self.prepare, wanted)
        except ConfigError as error:
            version = self._state.table.version
            return ReloadResult(
                changed=False, version=version, problems=tuple(error.problems), warnings=tuple(warnings)
            )
        if changed:
            table = self._make(wanted)
            self.config = wanted
            self._state.table = table
        return ReloadResult(changed=changed, version=self._state.table.version, warnings=tuple(warnings))

    def _load(self, warnings: list[Problem]) -> Config:
        """The configuration that the file asks for, with what only a restart can change as it runs now.

        What is kept is validated again together with the rest: a file may be right for the address that it asks for
        and wrong for the one that is still bound. `warnings` gets one problem for each setting that is kept.
        """
        text = self._read()
        wanted = load(text, self._environ, overrides=self._overrides)
        shown, running = redacted(wanted), redacted(self.config)
        kept = {path: _at(running, path) for path in restart_only() if _at(shown, path) != _at(running, path)}
        warnings += [_waits(path, value) for path, value in kept.items()]
        return load(text, self._environ, overrides=self._overrides | kept) if kept else wanted

    def _read(self) -> str:
        # Stamps are taken before files are read: what changes in between is seen at the next look.
        self._seen = _stamps(self._seen)
        text = read(self._path)
        secrets = secret_files(text)
        if secrets is not None:
            self._seen = {self._path: self._seen[self._path]} | _stamps(secrets)
        return text

    async def _pause(self) -> bool:
        """Wait for the next look; whether a reload was asked for meanwhile."""
        try:
            async with asyncio.timeout(self._every):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True


def _stamps(paths: Iterable[Path]) -> dict[Path, _Stamp]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document[name]
    return document


def _waits(path: str, value: object) -> Problem:
    written = value if isinstance(value, str) else json.dumps(value)
    return Problem(path, None, f"needs a restart; `{written}` stays in force", "Restart the gateway to change it.")
