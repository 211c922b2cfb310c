"""Stage 1: who calls? Comes first, so that a stranger's body is never read, let alone parsed."""

from __future__ import annotations

from app.errors import INVALID_API_KEY, GatewayError
from app.exchange import Principal
from app.table import Table

_MISSING = "No API key was given. Send it as `Authorization: Bearer KEY`, `x-api-key: KEY` or `api-key: KEY`."


def authenticate(table: Table, credentials: tuple[bytes, ...]) -> Principal:
    """The principal behind the credentials that the request's headers hold (normally one).

    Keys are looked up by SHA-256 digest and the digests compared in constant time (`Table.principal`).
    Raises `GatewayError` `invalid_api_key` for none, an unknown one, or several that differ.
    """
    if not credentials:
        if table.anonymous is not None:
            return table.anonymous
        raise GatewayError(INVALID_API_KEY, _MISSING)
    if len(credentials) > 1 and len(set(credentials)) > 1:
        raise GatewayError(INVALID_API_KEY, "The request carries several API keys that differ. Send one.")
    principal = table.principal(credentials[0])
    if principal is None:
        raise GatewayError(INVALID_API_KEY, "The API key is not known here. Check it, or ask the operator for one.")
    return principal
