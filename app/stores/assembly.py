"""An epoch of Redis' state that is put together anew, by all hosts that share it.

Each host brings the requests that it holds open, as reservations; the sums of everything else are in the ledger, which
all of them have delivered into before they join. One of them opens the epoch: with the ledger's sums, without the
requests that were brought, and only if nothing was brought that it did not know of (`steps`). The script refuses all of
it once an epoch is open, or once the state was lost again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from secrets import randbelow

from app.metering import LARGEST, Allowances, Charge, Claim, Spent, Window, kept
from app.stores.escrow import rows
from app.stores.redis import DONE, RedisStore, Script, arguments, encode_rows, reservation


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A reservation that a spool knows as open when the state is rebuilt."""

    claim_id: str
    allowances: Allowances
    reserved_at: float
    amount: Charge


@dataclass(frozen=True, slots=True)
class Joined:
    """What an epoch holds: how much was brought (`steps`), which of the hosts asked for are not in it, and the ids."""

    steps: int
    absent: frozenset[str]
    ids: frozenset[str]


class Assembly:
    """One host's part in it. Everything raises Unanswered, and may be repeated then."""

    def __init__(self, line: Script, store: RedisStore) -> None:
        self._line = line
        self._store = store

    async def lost(self) -> int | None:
        """The number that names the loss of the state, the same for every host; None where there is an epoch.

        It is another one after every loss. What was reserved before it has become void, or was sent, `slice_seconds`
        after a host has first heard of it: only then may it look for what it holds open.
        """
        reply = await self._run("", b"lose", b"%d" % randbelow(LARGEST))
        return reply[1] if reply[0] == DONE else None

    async def join(self, epoch: str, host: str, opened: Iterable[Unsettled]) -> bool:
        """Bring what this host holds open. False where the epoch is open already, or lost."""
        for one in opened:
            claim = Claim(one.claim_id, one.allowances, one.amount, sent=True)
            several = encode_rows(rows(one.allowances, one.reserved_at)) + self._store.encode_claim(claim)
            if (await self._line.run(*reservation(b"restore", epoch, one.allowances, several)))[0] != DONE:
                return False
        return (await self._run(epoch, b"join", host.encode()))[0] == DONE

    async def joined(self, epoch: str, hosts: Sequence[str]) -> Joined | None:
        """Who has joined, and what they brought; None where the epoch is open already, or lost."""
        named = [host.encode() for host in hosts]
        reply = await self._line.texts(*arguments(b"joined", epoch, b"%d" % len(hosts), *named))
        if reply[0] != str(DONE):
            return None
        here, ids = reply[2 : 2 + len(hosts)], reply[2 + len(hosts) :]
        absent = frozenset(host for host, there in zip(hosts, here, strict=True) if there != "1")
        return Joined(int(reply[1]), absent, frozenset(ids))

    async def open(self, epoch: str, steps: int, spent: Iterable[Spent]) -> bool:
        """Open the epoch. False where somebody else has, where it is lost, or where more was brought than `steps`."""
        parts: list[bytes] = []
        for budget, start, used in spent:
            expires = 0 if budget.window is Window.TOTAL else kept(start, budget.window.span(start)[1])
            parts += [f"{budget.name}:{start}".encode(), b"%d" % used, b"%d" % expires]
        return (await self._run(epoch, b"open", b"%d" % steps, b"%d" % (len(parts) // 3), *parts))[0] == DONE

    async def _run(self, epoch: str, operation: bytes, *parts: bytes) -> list[int]:
        return await self._line.run(*arguments(operation, epoch, *parts))
