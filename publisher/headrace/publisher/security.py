"""How Headrace proves to Kafka who it is, and makes sure that Kafka is who it should be.

One group of settings for every Kafka client of the product: TLS with or without a client
certificate, and a login by SASL. Owns what may be combined with what, and the variables that set
it. Files are read when a client is opened, so that renewed ones count from the next client on.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self, cast, get_args

from headrace.publisher.errors import InvalidSecurity
from headrace.publisher.tls import client_context
from headrace.publisher.tokens import TokenProvider, as_client_provider, check_reference

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_PROTOCOLS: Final[tuple[str, ...]] = get_args(Protocol)
_MECHANISMS: Final[tuple[str, ...]] = get_args(Mechanism)
_VARIABLE: Final = "HEADRACE_KAFKA_"
_LOGIN: Final = ("sasl_username", "sasl_password", "sasl_password_file")
# They send the secret itself, for anybody between to read; SCRAM only proves that it has it.
_NEEDS_TLS: Final = frozenset({"PLAIN", "OAUTHBEARER"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """TLS and SASL settings; without any, a connection is plaintext without a login.

    `security_protocol` follows from the others: a mechanism means SASL_SSL, TLS files mean SSL.
    Without `ssl_ca_file` the system's certificate authorities are trusted. The broker's name is
    always checked. `sasl_oauth_token_provider` is an object with `async def token() -> str`, or
    `module:name` of an async function that returns a token, or of a factory of such an object.

    **Concurrency:** immutable; share it freely. No secret is part of its repr.

    Raises:
        InvalidSecurity: settings that contradict each other, or lack something.
    """

    security_protocol: str = ""
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None
    ssl_key_password: str = field(default="", repr=False)
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    sasl_password_file: Path | None = None
    sasl_oauth_token_provider: str | TokenProvider | None = None

    def __post_init__(self) -> None:
        """Raise InvalidSecurity unless the settings fit together."""
        _check_word("security_protocol", self.security_protocol, _PROTOCOLS)
        _check_word("sasl_mechanism", self.sasl_mechanism, _MECHANISMS)
        self._check_tls()
        self._check_sasl()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return what HEADRACE_KAFKA_SECURITY_PROTOCOL and its like say.

        These are the variables that a node's settings read, so that tools and nodes agree.

        Raises:
            InvalidSecurity: as the class.
        """
        variables = os.environ if environment is None else environment
        return cls.from_texts({name: variables.get(variable(name), "") for name in cls.names()})

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Self:
        """Return the settings written as text; an empty text leaves its setting out."""
        values: dict[str, Any] = {
            name: Path(text).expanduser() if name.endswith("_file") else text
            for name, text in texts.items()
            if text
        }
        return cls(**values)

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the settings, as variables (in capitals) and flags have them."""
        return [each.name for each in fields(cls)]

    @property
    def protocol(self) -> Protocol:
        """The protocol in force: what was set, or what the other settings imply."""
        if self.security_protocol:
            return cast("Protocol", self.security_protocol)
        return "SASL_SSL" if self.sasl_mechanism else "SSL" if self._given("ssl_") else "PLAINTEXT"

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def has_login(self) -> bool:
        """Whether the client logs in by SASL."""
        return self.protocol.startswith("SASL")

    def check_hosts(self, hosts: Iterable[str]) -> None:
        """Raise InvalidSecurity if a secret would leave this machine in the clear."""
        if self.has_tls or self.sasl_mechanism not in _NEEDS_TLS:
            return
        far = [host for host in hosts if not _is_loopback(host)]
        if far:
            raise InvalidSecurity(
                f"{self.sasl_mechanism} over {self.protocol} would send the secret to "
                f"{', '.join(far)} in the clear; use security_protocol SASL_SSL (or a SCRAM "
                "mechanism)"
            )

    def client_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of an aiokafka client; files are read now.

        Raises:
            InvalidSecurity: a file cannot be used, or the token provider cannot be made.
        """
        if self.protocol == "PLAINTEXT":
            return {}
        arguments: dict[str, Any] = {"security_protocol": self.protocol}
        if self.has_tls:
            arguments["ssl_context"] = client_context(
                self.ssl_ca_file,
                self.ssl_certificate_file,
                self.ssl_key_file,
                self.ssl_key_password,
            )
        if self.has_login:
            arguments["sasl_mechanism"] = self.sasl_mechanism
        if self.has_login and self.sasl_oauth_token_provider:
            provider = as_client_provider(self.sasl_oauth_token_provider)
            arguments["sasl_oauth_token_provider"] = provider
        elif self.has_login:
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self._password()
        return arguments

    def _check_tls(self) -> None:
        if not self.has_tls and (given := self._given("ssl_")):
            raise InvalidSecurity(
                f"{', '.join(given)} and {self.protocol}, which uses no TLS, exclude each other"
            )
        if self.ssl_key_file and not self.ssl_certificate_file:
            raise InvalidSecurity(
                "ssl_key_file is given without the ssl_certificate_file that it belongs to"
            )
        if self.ssl_key_password and not self.ssl_certificate_file:
            raise InvalidSecurity(
                "ssl_key_password is given without a key; give ssl_certificate_file too"
            )

    def _check_sasl(self) -> None:
        given = self._given("sasl_")
        if not self.has_login:
            if given and self.security_protocol:
                raise InvalidSecurity(
                    f"{', '.join(given)} and {self.protocol}, which has no login, exclude each "
                    "other; use SASL_SSL or leave the protocol out"
                )
            if given:
                raise InvalidSecurity(
                    f"{', '.join(given)} without sasl_mechanism; {_one_of(_MECHANISMS)}"
                )
            return
        if not self.sasl_mechanism:
            raise InvalidSecurity(f"{self.protocol} needs a sasl_mechanism; {_one_of(_MECHANISMS)}")
        if self.sasl_mechanism == "OAUTHBEARER":
            self._check_token_login(given)
        else:
            self._check_password_login()

    def _check_token_login(self, given: list[str]) -> None:
        if not self.sasl_oauth_token_provider:
            raise InvalidSecurity(
                "OAUTHBEARER needs sasl_oauth_token_provider, for example my_tokens:provider"
            )
        if unused := [name for name in given if name in _LOGIN]:
            raise InvalidSecurity(f"OAUTHBEARER takes a token provider, and no {', '.join(unused)}")
        check_reference(self.sasl_oauth_token_provider)

    def _check_password_login(self) -> None:
        if self.sasl_oauth_token_provider:
            raise InvalidSecurity(
                f"sasl_oauth_token_provider is for OAUTHBEARER, not for {self.sasl_mechanism}"
            )
        if self.sasl_password and self.sasl_password_file:
            raise InvalidSecurity("sasl_password and sasl_password_file are both given; give one")
        missing = [] if self.sasl_username else ["sasl_username"]
        if not self.sasl_password and not self.sasl_password_file:
            missing.append("sasl_password or sasl_password_file")
        if missing:
            raise InvalidSecurity(
                f"{self.sasl_mechanism} needs {' and '.join(missing)}, which is missing"
            )

    def _given(self, prefix: str) -> list[str]:
        return [name for name in self.names() if name.startswith(prefix) and getattr(self, name)]

    def _password(self) -> str:
        if self.sasl_password_file is None:
            return self.sasl_password
        try:
            text = self.sasl_password_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSecurity(
                f"sasl_password_file {self.sasl_password_file} cannot be read: {error}"
            ) from error
        # What editors and `echo` put at the end is no part of a password.
        password = text.rstrip("\r\n")
        if not password:
            raise InvalidSecurity(f"sasl_password_file {self.sasl_password_file} is empty")
        return password


def variable(name: str) -> str:
    """Return the variable that sets a setting."""
    return f"{_VARIABLE}{name.upper()}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word and word not in known:
        raise InvalidSecurity(f"{name} {word!r} is not known; {_one_of(known)}")


def _one_of(words: tuple[str, ...]) -> str:
    return f"give one of {', '.join(words)}"
