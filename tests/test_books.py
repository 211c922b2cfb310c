"""One process's books: from the path's ledger to rows, without a database at first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from app.books import Books
from app.cells import Cells
from app.config.service import Stores
from app.exchange import Arm, Usage
from app.stores.tables import LEDGER
from app.tasks import TaskGroup
from app.telemetry import DATABASE_UP, LEDGER_ROWS, SPOOL_BYTES, Telemetry
from tests.pipeline.test_ledger import CALL, ONE, ended, request
from tests.support.waiting import until


async def test_rows_wait_for_the_database_and_arrive(tmp_path: Path) -> None:
    """It is away at start, which is told; then everything is delivered, and the spool is empty after the end."""
    folder = tmp_path / "later"
    stores = Stores(database=f"sqlite+aiosqlite:///{folder}/ledger.db", spool=str(tmp_path / "spool"))
    telemetry, tasks = Telemetry(Cells(None, "test")), TaskGroup("test")
    books = Books(stores, telemetry)

    def told() -> dict[str, float]:
        return {series.metric: values[0] for series, values in telemetry.cells.read()}

    books.start(tasks)
    progress = request()
    books.ledger.open(CALL, Arm.STABLE, ONE, progress)
    ended(progress, ONE, Usage(3, 4))
    books.ledger.close(progress)
    await until(lambda: books.reason not in {None, "not connected yet"})
    folder.mkdir()
    await until(lambda: books.reason is None)
    await until(lambda: told()[LEDGER_ROWS.name] == 1)
    assert told()[DATABASE_UP.name] == 1
    assert told()[SPOOL_BYTES.name] > 0
    async with books.database.connect() as connection:
        row = (await connection.execute(select(LEDGER))).mappings().one()
    assert (row["request_id"], row["charged_nano"]) == ("req_1", progress.cost)
    await tasks.aclose()
    await books.aclose()
    assert list((tmp_path / "spool").glob("*.log")) == []
