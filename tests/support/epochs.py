"""Opens an epoch of a limit store's Redis, as a host that is alone would."""

from __future__ import annotations

from collections.abc import Iterable

from app.metering import Spent
from app.stores.assembly import Assembly, Unsettled
from app.stores.line import Line
from app.stores.redis import RedisStore


async def open_epoch(
    line: Line, store: RedisStore, spent: Iterable[Spent] = (), opened: Iterable[Unsettled] = ()
) -> bool:
    """Whether it was opened: False where there is one, or where it was lost on the way."""
    assembly = Assembly(line, store)
    number = await assembly.lost()
    if number is None:
        return False
    epoch = f"{line.server}.{number}"
    if not await assembly.join(epoch, "alone", opened):
        return False
    found = await assembly.joined(epoch, ["alone"])
    return found is not None and await assembly.open(epoch, found.steps, spent)
