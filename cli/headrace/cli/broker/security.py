"""A guarded door for the embedded broker: TLS, client certificates, logins by SASL.

For tests and for trying out on a laptop what a real cluster asks for. Owns what Kafka is told about
it; the certificates are the caller's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from headrace.cli.broker.errors import BrokerError

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

LISTENER: Final = "CLIENTS"
_PREFIX: Final = f"listener.name.{LISTENER.lower()}"
_LOGIN_MODULES: Final[Mapping[Mechanism, str]] = {
    "PLAIN": "plain.PlainLoginModule",
    "SCRAM-SHA-256": "scram.ScramLoginModule",
    "SCRAM-SHA-512": "scram.ScramLoginModule",
    "OAUTHBEARER": "oauthbearer.OAuthBearerLoginModule",
}
# What needs no escape in Kafka's properties, its login modules and its format tool alike.
_SAFE: Final = re.compile(r"[\w.@+~-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSecurity:
    """How clients reach an embedded broker: by TLS always, and with a login if there are users.

    `key_and_certificate` is a PEM file with the unencrypted PKCS#8 key and its certificate, which
    should be for `localhost`. `client_authorities` is a PEM file of the authorities that clients'
    certificates come from; with it, a client must have one. `users` are names and passwords, for
    PLAIN and SCRAM; the latter are stored when the data folder is formatted.

    OAUTHBEARER takes unsigned tokens, that is, it believes whatever a client says: for tests only.
    The broker itself, and whoever else is on this machine, also has a plain loopback port.

    Raises:
        BrokerError: no mechanism for the users, or characters that Kafka's files cannot hold.
    """

    key_and_certificate: Path
    client_authorities: Path | None = None
    users: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    mechanisms: tuple[Mechanism, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

    def __post_init__(self) -> None:
        """Raise BrokerError for what Kafka could not be told."""
        if self.users and not self.mechanisms:
            raise BrokerError(f"users need a mechanism: {', '.join(_LOGIN_MODULES)}")
        for user, password in self.users.items():
            if not _SAFE.fullmatch(user) or not _SAFE.fullmatch(password):
                raise BrokerError(
                    f"user {user!r} or its password holds characters that are not allowed here: "
                    "use letters, digits and . _ @ + ~ -"
                )

    @property
    def protocol(self) -> str:
        """The protocol of the guarded door, by Kafka's name."""
        return "SASL_SSL" if self.users else "SSL"

    def properties(self) -> dict[str, str]:
        """Return what Kafka is told about the guarded door."""
        told = {
            f"{_PREFIX}.ssl.keystore.type": "PEM",
            f"{_PREFIX}.ssl.keystore.location": str(self.key_and_certificate.absolute()),
        }
        if self.client_authorities:
            told |= {
                f"{_PREFIX}.ssl.truststore.type": "PEM",
                f"{_PREFIX}.ssl.truststore.location": str(self.client_authorities.absolute()),
                f"{_PREFIX}.ssl.client.auth": "required",
                "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            }
        if self.users:
            told[f"{_PREFIX}.sasl.enabled.mechanisms"] = ",".join(self.mechanisms)
            for mechanism in self.mechanisms:
                login = f"{_PREFIX}.{mechanism.lower()}.sasl.jaas.config"
                told[login] = self._login_module(mechanism)
        return told

    def format_arguments(self) -> list[str]:
        """Return what the format tool is told: the users, as SCRAM stores them."""
        return [
            argument
            for mechanism in self.mechanisms
            if mechanism.startswith("SCRAM")
            for user, password in self.users.items()
            for argument in ("--add-scram", f"{mechanism}=[name={user},password={password}]")
        ]

    def _login_module(self, mechanism: Mechanism) -> str:
        options = ""
        if mechanism == "PLAIN":
            options = "".join(f' user_{name}="{word}"' for name, word in self.users.items())
        if mechanism == "OAUTHBEARER":
            options = ' unsecuredLoginStringClaim_sub="broker"'
        module = f"org.apache.kafka.common.security.{_LOGIN_MODULES[mechanism]}"
        return f"{module} required{options};"
