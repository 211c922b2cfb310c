"""The rule that other tools roll back by: look every so often, and act when the candidate's rate is so much higher.

Here only to be compared with: each look is another chance of a false alarm, and nothing bounds their sum.
"""

from __future__ import annotations

from app.control.evariable import Counts


class FixedRule:
    """Alarms when the candidate's rate of bad requests since the last look is more than `points` above stable's."""

    def __init__(self, points: float = 0.02, every_s: float = 300.0) -> None:
        self._points, self._every = points, every_s
        self._next = every_s
        self._window = Counts()
        self.alarm = False

    def observe(self, requests: Counts, now_s: float) -> None:
        """The requests since the last call, and the time since the start."""
        self._window = self._window.plus(requests)
        if now_s < self._next:
            return
        n_s, k_s, n_c, k_c = self._window
        if n_s and n_c and k_c / n_c - k_s / n_s > self._points:
            self.alarm = True
        self._window = Counts()
        self._next += self._every
