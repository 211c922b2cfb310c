"""The gateways that are compared, one file each, and direct access to the upstream as the zero line."""

from __future__ import annotations

from loadtests.peers.base import Direct, Peer
from loadtests.peers.litellm import LiteLLM
from loadtests.peers.nginx import Nginx
from loadtests.peers.portkey import Portkey
from loadtests.peers.sluicegate import VARIANTS
from loadtests.peers.vllm_router import VllmRouter

ALL: dict[str, Peer] = {peer.name: peer for peer in (Direct(), Nginx(), VllmRouter(), *VARIANTS, Portkey(), LiteLLM())}
"""In the order in which they are printed."""
