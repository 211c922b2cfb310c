"""What the servers that tests start have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from types import TracebackType
from typing import Self


class Starting(ABC):
    """A context manager whose leaving is done, too, when its beginning fails."""

    def __enter__(self) -> Self:
        with ExitStack() as failed:
            failed.push(self)
            self._begin()
            failed.pop_all()
        return self

    @abstractmethod
    def _begin(self) -> None:
        """Start."""

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what runs, and remove what is left."""
