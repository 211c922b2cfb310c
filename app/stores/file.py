"""The ledger's rows into a SQLite file, past SQLAlchemy and past a thread switch for each row.

The driver lets go of the interpreter's lock for every statement that it runs, and in a busy process gets it back half a
millisecond later: twenty rows are one statement. Ids begin with the time, so rows go to the ends of the file's trees.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from threading import Lock

from app.entry import NAMES, Entry
from app.stores.tables import DAILY, GROUPS, LEDGER, SUMS

PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
"""Readers beside the writer, and every commit on the disk."""
_AT_ONCE = 20


def columns(names: Iterable[str]) -> str:
    """Names as they stand in a statement."""
    return ", ".join(f'"{name}"' for name in names)


def added(day: str, source: str) -> str:
    """A statement that adds the rows of `source` to the days' usage; `day` makes one of `at`."""
    groups, own = columns(GROUPS), columns(GROUPS[1:])
    counted = "count(*), count(*) FILTER (WHERE method = 'bound')"
    sums = ", ".join(f"sum({name})" for name in SUMS[2:])
    more = ", ".join(f"{name} = {DAILY.name}.{name} + excluded.{name}" for name in SUMS)
    # In the order of their groups: two hosts that add to the same days do not deadlock.
    return (
        f"INSERT INTO {DAILY.name} ({groups}, {columns(SUMS)}) SELECT {day} AS day, {own}, {counted}, {sums} "  # noqa: S608 -- names, no values
        f"FROM {source} GROUP BY {groups} ORDER BY {groups} ON CONFLICT ({groups}) DO UPDATE SET {more}"
    )


def _insertion(rows: int) -> str:
    places = f"({', '.join('?' * len(NAMES))})"
    return (
        f"INSERT INTO {LEDGER.name} ({columns(NAMES)}) VALUES {', '.join([places] * rows)} "  # noqa: S608 -- names, no values
        "ON CONFLICT (request_id) DO NOTHING"
    )


_ONE, _MANY = _insertion(1), _insertion(_AT_ONCE)
_LAST = f"SELECT coalesce(max(rowid), 0) FROM {LEDGER.name}"  # noqa: S608 -- a table's name, no value
_ADD = added("CAST(at / 86400 AS INTEGER)", f"{LEDGER.name} WHERE rowid > ?")


class File:
    """The file at `path`; opened when it is first written. Use it in any thread, in several at once if need be.

    `patience` is how long another writer is waited for, in seconds.
    """

    def __init__(self, path: str, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()

    def insert(self, entries: Sequence[Entry]) -> None:
        """Insert those that are not there yet, and add them to their days. All or nothing; raises sqlite3.Error."""
        with self._lock:
            try:
                connection = self._connection or self._open()
                connection.execute("BEGIN IMMEDIATE")
                before = connection.execute(_LAST).fetchone()
                whole = len(entries) - len(entries) % _AT_ONCE
                for at in range(0, whole, _AT_ONCE):
                    connection.execute(_MANY, list(chain.from_iterable(entries[at : at + _AT_ONCE])))
                connection.executemany(_ONE, entries[whole:])
                connection.execute(_ADD, before)
                connection.execute("COMMIT")
            except BaseException:
                self._close()
                raise

    def close(self) -> None:
        """Let go of the file until it is written again."""
        with self._lock:
            self._close()

    def _open(self) -> sqlite3.Connection:
        made = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None, check_same_thread=False)
        self._connection = made
        for pragma in PRAGMAS:
            made.execute(pragma)
        return made

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
