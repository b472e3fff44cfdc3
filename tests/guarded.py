"""Brokers that ask who comes: one for logins over TLS, one for client certificates."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.cli.broker import BrokerSecurity, EmbeddedBroker
from headrace.publisher import KafkaConnection, KafkaSecurity
from tests.certificates import Authority

USER, PASSWORD = "alice", "alice-secret"


@dataclass(frozen=True)
class Guarded:
    """A running broker behind TLS, and what its clients need."""

    bootstrap_servers: str
    authority: Authority

    def settings(self, **settings: object) -> dict[str, Any]:
        """Return settings with the broker's authority, as `KafkaSecurity` takes them."""
        return {"ssl_ca_file": self.authority.certificate} | settings

    def login(self, mechanism: str = "SCRAM-SHA-512", **settings: object) -> dict[str, Any]:
        """Return the settings of a login with user and password."""
        who = {"sasl_mechanism": mechanism, "sasl_username": USER, "sasl_password": PASSWORD}
        return self.settings(**who | settings)

    def connection(self, settings: dict[str, Any], *, seconds: float = 5.0) -> KafkaConnection:
        """Return a connection with these settings."""
        return KafkaConnection(self.bootstrap_servers, seconds, KafkaSecurity(**settings))

    def variables(self, settings: dict[str, Any]) -> dict[str, str]:
        """Return the environment that says the same."""
        named = {f"HEADRACE_KAFKA_{name.upper()}": str(text) for name, text in settings.items()}
        return named | {"HEADRACE_BOOTSTRAP_SERVERS": self.bootstrap_servers}


@contextmanager
def login_broker(folder: Path) -> Generator[Guarded]:
    """Run a broker with SASL_SSL and every mechanism."""
    authority = Authority.create(folder / "authority")
    security = BrokerSecurity(
        key_and_certificate=authority.issue("localhost").bundle,
        users={USER: PASSWORD},
        mechanisms=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"),
    )
    with _running(security) as servers:
        yield Guarded(servers, authority)


@contextmanager
def certificate_broker(folder: Path) -> Generator[Guarded]:
    """Run a broker whose clients must have a certificate."""
    authority = Authority.create(folder / "authority")
    security = BrokerSecurity(
        key_and_certificate=authority.issue("localhost").bundle,
        client_authorities=authority.certificate,
    )
    with _running(security) as servers:
        yield Guarded(servers, authority)


@contextmanager
def _running(security: BrokerSecurity) -> Generator[str]:
    # Loops of its own: those of the tests live for one test each.
    broker = EmbeddedBroker(security=security)
    asyncio.run(broker.start())
    try:
        yield broker.bootstrap_servers
    finally:
        asyncio.run(broker.stop())


class UnsignedTokens:
    """Gives tokens such as Kafka's unsecured validator takes (RFC 7515, appendix A.5)."""

    def __init__(self, valid_seconds: float = 600.0) -> None:
        self._valid_seconds = valid_seconds
        self.given = 0

    async def token(self) -> str:
        """Return a token that says we are the test user."""
        self.given += 1
        now = time.time() + min(0.0, self._valid_seconds)
        claims = {"sub": USER, "iat": now - 1, "exp": now + abs(self._valid_seconds) / 2}
        return f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."


async def unsigned_token() -> str:
    """Return one token; a provider as a plain function."""
    return await UnsignedTokens().token()


async def no_token() -> str:
    """Fail, as a provider does whose authorization server is away."""
    raise ConnectionError("the authorization server is away")


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
