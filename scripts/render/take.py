"""Pictures of the dashboards from real data: `make screenshots` (`--seconds 180`) writes docs/dashboards/*.png.

A gateway with everything on runs under mixed load, a real Prometheus scrapes it, every panel's query is asked as
Grafana would ask it, and Grafana's own components draw the answers in Chromium. No Grafana server takes part.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from tests.grafana.promql import boards
from tests.grafana.scene import Scene, concrete, played
from tests.support.upstream import ROOT

OUT = ROOT / "docs" / "dashboards"
STEP = 2
"""Seconds between two points of a graph."""
Json = dict[str, Any]


def answered(scene: Scene, board: Json) -> Json:
    """A board with the answers to its queries, over the time of the load."""
    began, ended = scene.began + 10, time.time()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            expr = concrete(target["expr"])
            if target.get("range"):
                target["result"] = scene.prometheus.over_time(expr, began, ended, STEP)
            else:
                target["result"] = scene.prometheus.at(expr, ended)
    return {**board, "from": began, "to": ended}


def main() -> int:
    """Play, ask, draw. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="how long the load lasts")
    parser.add_argument("--keep", type=Path, help="a folder for the answers, to draw them again with --from")
    parser.add_argument("--from", dest="kept", type=Path, help="draw answers that were kept; no load")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluicegate-render-") as folder:
        data = given.kept or given.keep or Path(folder)
        data.mkdir(exist_ok=True)
        if given.kept is None:
            with played(given.seconds) as scene:
                for uid, board in boards().items():
                    (data / f"{uid}.json").write_bytes(orjson.dumps(answered(scene, board)))
        OUT.mkdir(exist_ok=True)
        browser = shutil.which("chromium")
        command = ["node", str(Path(__file__).with_name("shoot.mjs")), str(data.resolve()), str(OUT), str(browser)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
