"""Which arm serves a request: pure, from the weight and either the sticky unit's place in the hash or a random number.

Every unit has one place in [0, 1), the same in every worker and after every restart. It is served by the candidate
while that place lies below the weight: when the weight changes, only the units between the old and the new weight move.
"""

from __future__ import annotations

from hashlib import blake2b

from app.exchange import Arm


def place(salt: bytes, unit: str) -> float:
    """The unit's place in [0, 1), evenly spread over units. `salt` (at most 64 bytes) makes each rollout draw anew."""
    digest = blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8, key=salt).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def arm_at(weight: float, at: float) -> Arm:
    """The arm at a place, or at a random number, in [0, 1). `weight` is percent, fractions allowed."""
    return Arm.CANDIDATE if at * 100.0 < weight else Arm.STABLE
