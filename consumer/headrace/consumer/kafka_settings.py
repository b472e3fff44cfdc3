"""The node's settings of its way to Kafka: those of the publisher portion, as flags and keys."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr

from headrace.publisher.connection import KafkaConnection
from headrace.publisher.security import KafkaSecurity


class KafkaSettings(BaseModel):
    """Where Kafka is, and how the node proves who it is; `KafkaSecurity` judges them together."""

    bootstrap_servers: str = Field(
        "localhost:9092", description="Kafka brokers to begin with, as host:port,host:port"
    )
    kafka_security_protocol: str = Field(
        "",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (default: SASL_SSL with a "
        "mechanism, SSL with TLS files, else PLAINTEXT)",
    )
    kafka_ssl_ca_file: Path | None = Field(
        None, description="PEM file of the authorities to trust (default: the system's)"
    )
    kafka_ssl_certificate_file: Path | None = Field(
        None, description="PEM file of the client certificate, with its chain"
    )
    kafka_ssl_key_file: Path | None = Field(
        None, description="PEM file of its key (default: the certificate's file)"
    )
    kafka_ssl_key_password: SecretStr = Field(
        SecretStr(""), description="password of an encrypted key; better by its variable"
    )
    kafka_sasl_mechanism: str = Field(
        "", description="login: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
    )
    kafka_sasl_username: str = Field("", description="user to log in as")
    kafka_sasl_password: SecretStr = Field(
        SecretStr(""), description="the user's password; better by its variable, or in a file"
    )
    kafka_sasl_password_file: Path | None = Field(
        None, description="file that holds the password, read for each new Kafka client"
    )
    kafka_sasl_oauth_token_provider: str = Field(
        "", description="module:name of what gives tokens for OAUTHBEARER"
    )

    @property
    def kafka_connection(self) -> KafkaConnection:
        """The connection that every Kafka client of the node is made from.

        Raises:
            InvalidArgument: settings that contradict each other, or lack something.
        """
        security = KafkaSecurity.from_texts(
            {name: _text(getattr(self, f"kafka_{name}")) for name in KafkaSecurity.names()}
        )
        return KafkaConnection(self.bootstrap_servers, security=security)


def _text(value: str | Path | SecretStr | None) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
