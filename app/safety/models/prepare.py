"""Set-up's last step, `python -m app.safety.models.prepare`: convert the encoder that is not shipped ready to run."""

from __future__ import annotations

import sys

from app.safety.models.e5 import converted
from app.safety.models.encoders import cache_folder


def main() -> None:
    """Convert, unless it was converted before, and say where the result is."""
    model, _ = converted(cache_folder())
    sys.stdout.write(f"setup: the encoder is at {model} ({model.stat().st_size // 1_000_000} MB)\n")


if __name__ == "__main__":
    main()
