"""TLS contexts towards upstreams."""

from __future__ import annotations

import asyncio
import ssl

from app.providers.trust import Trust


async def test_the_system_is_trusted_and_names_are_checked() -> None:
    """By default a certificate is demanded, for the right name, from an authority of the system."""
    context = await Trust().context(http2=False)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.get_ca_certs() == ssl.create_default_context().get_ca_certs()


async def test_contexts_are_made_once_and_off_the_loop() -> None:
    """One for each set of protocols; the loop goes on meanwhile."""
    made = []

    def make() -> ssl.SSLContext:
        made.append(asyncio._get_running_loop())
        return ssl.create_default_context()

    trust = Trust(make)
    contexts = [await trust.context(http2=http2) for http2 in (False, True, False, True)]
    assert contexts[0] is contexts[2]
    assert contexts[1] is contexts[3]
    assert contexts[0] is not contexts[1]
    assert made == [None, None]
