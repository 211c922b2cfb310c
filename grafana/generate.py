"""`python -m grafana.generate`: write every board as JSON for Grafana's file provisioning; a test holds them equal."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import costs, engines, gateway, overview, rollouts, safety
from grafana.parts import build

BOARDS = (overview.BOARD, rollouts.BOARD, costs.BOARD, safety.BOARD, engines.BOARD, gateway.BOARD)
FOLDER = Path(__file__).parent / "dashboards"


def encode(dashboard: Dashboard) -> str:
    """A dashboard as the file has it."""
    return JSONEncoder(sort_keys=True, indent=1).encode(dashboard) + "\n"


def files() -> dict[Path, str]:
    """What each file must hold."""
    return {FOLDER / f"{board.uid}.json": encode(build(board)) for board in BOARDS}


def main() -> None:
    """Write the files that are not as they must be."""
    FOLDER.mkdir(exist_ok=True)
    for path, text in files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.name}")
    for stray in set(FOLDER.glob("*.json")) - files().keys():
        stray.unlink()


if __name__ == "__main__":
    main()
