"""Importing this first has the importing process interpret the gateway, also where its hot modules are compiled.

Tests of parts replace, subclass and imitate what is in modules, and a compiled module would not have it. The gateways
that tests start are processes of their own, and compiled where the one that users start would be.
"""

from __future__ import annotations

import sys

from app.compiled import Finder

sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]
