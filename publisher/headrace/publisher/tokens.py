"""Tokens for OAUTHBEARER: from somebody else's code, by reference or as an object, to aiokafka."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol, cast, runtime_checkable

from headrace.publisher.clients import AbstractTokenProvider, KafkaConnectionError
from headrace.publisher.errors import InvalidSecurity

_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@runtime_checkable
class TokenProvider(Protocol):
    """Gives the token of a new connection; it keeps one as long as it is valid, and renews it.

    An `extensions()` that returns a mapping of texts is used when there is one.
    """

    async def token(self) -> str:
        """Return a token that is valid now."""
        ...


class TokenUnavailable(KafkaConnectionError):
    """The provider gave no token; it may in a moment."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Function:
    """An async function as a provider."""

    def __init__(self, function: Callable[[], Awaitable[str]]) -> None:
        self.token = function


class _ClientProvider(AbstractTokenProvider):
    """A provider as aiokafka wants it, whose failures are told as failures to connect."""

    def __init__(self, provider: TokenProvider) -> None:
        self._provider = provider

    async def token(self) -> str:
        try:
            token = cast("object", await self._provider.token())
        except Exception as error:  # door: somebody else's code
            raise TokenUnavailable(f"the token provider failed: {error!r}") from error
        if not isinstance(token, str) or not token:
            raise TokenUnavailable(
                f"the token provider gave {type(token).__name__} instead of a token as str"
            )
        return token

    def extensions(self) -> Mapping[str, str]:
        give: Callable[[], Mapping[str, str]] | None = getattr(self._provider, "extensions", None)
        return give() if give else {}


def check_reference(provider: str | TokenProvider | None) -> None:
    """Raise InvalidSecurity if a provider's reference is not of the form `module:name`."""
    if isinstance(provider, str) and not _REFERENCE.fullmatch(provider):
        raise InvalidSecurity(
            f"sasl_oauth_token_provider {provider!r} is not module:name, "
            "for example my_tokens:provider"
        )


def as_client_provider(provider: str | TokenProvider) -> AbstractTokenProvider:
    """Return the provider for aiokafka.

    Raises:
        InvalidSecurity: the reference cannot be imported, or names nothing that gives tokens.
    """
    return _ClientProvider(_resolved(provider) if isinstance(provider, str) else provider)


@lru_cache(maxsize=8)
def _resolved(reference: str) -> TokenProvider:
    """Import a provider, once: all clients share the token that it keeps."""
    module, _, name = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        made = _Function(found) if inspect.iscoroutinefunction(found) else found()
    except Exception as error:  # door: somebody else's code
        raise InvalidSecurity(
            f"sasl_oauth_token_provider {reference!r} cannot be made: {error!r}"
        ) from error
    if not inspect.iscoroutinefunction(getattr(made, "token", None)):
        raise InvalidSecurity(
            f"sasl_oauth_token_provider {reference!r} made a "
            f"{type(made).__name__}, which has no `async def token(self) -> str`"
        )
    return cast("TokenProvider", made)
