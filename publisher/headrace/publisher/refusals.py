"""Why a broker does not take us: the one cause that a user can act upon.

aiokafka only says that it could not bootstrap. So we connect once more by hand, and put what TLS
and SASL say into words.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from headrace.publisher.clients import (
    IllegalSaslState,
    KafkaConnectionError,
    KafkaError,
    MetadataRequest,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanism,
    create_conn,
)
from headrace.publisher.security import KafkaSecurity, variable
from headrace.publisher.tokens import TokenUnavailable

_NAME_MISMATCHES: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER", "UNEXPECTED_EOF", "PACKET_LENGTH")
_GOODBYE_SECONDS: Final = 1.0
_LOOK_ELSEWHERE: Final = (
    "start a broker (headrace broker) or give its address with --bootstrap-servers or "
    "HEADRACE_BOOTSTRAP_SERVERS"
)


class Refusal(NamedTuple):
    """What a broker has against us; `is_final` when trying again cannot help."""

    words: str
    advice: str = _LOOK_ELSEWHERE
    is_final: bool = False


NO_ANSWER: Final = Refusal("no answer")
_NOBODY: Final = Refusal("nothing there answers as a Kafka broker")


async def find_refusal(
    arguments: Mapping[str, Any], security: KafkaSecurity, seconds: float
) -> Refusal | None:
    """Connect to the servers by hand; return what is wrong, or None if one of them takes us.

    Args:
        arguments: what the clients of the connection are built with.
        security: the settings behind them.
        seconds: how long to try at most, all servers together.
    """
    options = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    found = _NOBODY
    try:
        async with asyncio.timeout(seconds):
            for server in arguments["bootstrap_servers"]:
                host, _, port = server.rpartition(":")
                refusal = await _ask(host.strip("[]"), int(port), options, security)
                if refusal is None or refusal.is_final:
                    return refusal
                found = refusal if found is _NOBODY else found
    except TimeoutError:
        return found
    return found


async def _ask(
    host: str, port: int, options: Mapping[str, Any], security: KafkaSecurity
) -> Refusal | None:
    try:
        connection = await create_conn(host, port, **options)
        try:
            metadata = await connection.send(MetadataRequest([]))
        finally:
            await asyncio.wait([connection.close()], timeout=_GOODBYE_SECONDS)
    except (OSError, KafkaError, EOFError) as error:
        return _in_words(error, security, host)
    # aiokafka does not look at what the broker says to a token. A broker that refused it answers
    # what comes next with an empty form; a true answer names the cluster.
    if security.sasl_mechanism == "OAUTHBEARER" and metadata.cluster_id is None:
        return Refusal(
            "did not accept the token", f"check {variable('sasl_oauth_token_provider')}", True
        )
    return None


def _in_words(error: BaseException, security: KafkaSecurity, host: str) -> Refusal:
    """Say what an error on the way in means."""
    if isinstance(error, TokenUnavailable):
        return Refusal(error.reason, f"check {variable('sasl_oauth_token_provider')}")
    # A connection that ends during a request raises a bare error with the true one as its cause;
    # with TLS 1.3 the verdict on a client's certificate comes that way.
    cause = (error.__cause__ if isinstance(error, KafkaConnectionError) else None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _untrusted(cause, security, host)
    if isinstance(cause, ssl.SSLError):
        return _tls_refusal(cause, security)
    if isinstance(cause, (SaslAuthenticationFailed, UnsupportedSaslMechanism, IllegalSaslState)):
        return _login_refusal(cause, security)
    if isinstance(cause, (EOFError, ConnectionResetError, BrokenPipeError)):
        return Refusal("it hung up before it said anything", _protocol_advice(security))
    # Whatever else it says of the network, such as "connection refused", says that nobody is there.
    return _NOBODY if isinstance(cause, OSError) else Refusal(str(cause) or repr(cause))


def _untrusted(error: ssl.SSLCertVerificationError, security: KafkaSecurity, host: str) -> Refusal:
    if error.verify_code in _NAME_MISMATCHES:
        return Refusal(
            f"has a TLS certificate for another name than {host!r}",
            "use a name that the certificate is for",
            is_final=True,
        )
    trusted = security.ssl_ca_file or "the system's authorities"
    return Refusal(
        f"has a TLS certificate that {trusted} cannot vouch for ({error.verify_message})",
        f"give the authority that signed it with {variable('ssl_ca_file')}",
        is_final=True,
    )


def _tls_refusal(error: ssl.SSLError, security: KafkaSecurity) -> Refusal:
    reason = (error.reason or str(error)).upper()
    if any(word in reason for word in _NO_TLS):
        return Refusal("it does not speak TLS", _protocol_advice(security))
    if "CERTIFICATE" not in reason and "UNKNOWN_CA" not in reason:
        return Refusal(f"it ended the TLS handshake with {reason}", _protocol_advice(security))
    wanted = variable("ssl_certificate_file")
    if security.ssl_certificate_file:
        words = f"does not accept the client certificate {security.ssl_certificate_file}"
        advice = f"give one from an authority that it trusts with {wanted}"
    else:
        words = "asks for a client certificate"
        advice = f"give one with {wanted} and {variable('ssl_key_file')}"
    return Refusal(f"{words} ({reason})", advice, is_final=True)


def _login_refusal(error: KafkaError, security: KafkaSecurity) -> Refusal:
    mechanism = security.sasl_mechanism
    if isinstance(error, IllegalSaslState):
        return Refusal("takes no login there", _protocol_advice(security), is_final=True)
    if isinstance(error, UnsupportedSaslMechanism):
        advice = f"name one that it offers with {variable('sasl_mechanism')}"
        return Refusal(f"does not offer the mechanism {mechanism}", advice, is_final=True)
    who = f" of {security.sasl_username!r}" if security.sasl_username else ""
    return Refusal(
        f"refused the login{who} by {mechanism} ({error.args[0] if error.args else error})",
        f"check {variable('sasl_username')} and {variable('sasl_password')}",
        is_final=True,
    )


def _protocol_advice(security: KafkaSecurity) -> str:
    return (
        f"is it a broker, and does it expect {security.protocol}? Otherwise set "
        f"{variable('security_protocol')}"
    )
