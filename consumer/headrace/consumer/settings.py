"""The node's settings: one model, filled from flags, environment and a TOML file, in that order."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from headrace.consumer.core.errors import NodeError
from headrace.consumer.door_settings import DoorSettings
from headrace.consumer.http_settings import HttpSettings
from headrace.consumer.kafka_settings import KafkaSettings
from headrace.consumer.security_settings import SecuritySettings
from headrace.consumer.shadow_settings import ShadowSettings
from headrace.consumer.stream.options import DeliveryGuarantee
from headrace.schemas.topics import Topics

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]

_TOPICS = Topics()


def _expanded(path: Path) -> Path:
    return path.expanduser()


class _Groups(KafkaSettings, DoorSettings, HttpSettings, SecuritySettings, ShadowSettings):
    """The settings that come in groups, each defined where it belongs."""


class Settings(_Groups, BaseSettings):
    """Serve the model versions that the control log asks for, over Kafka, gRPC and HTTP.

    Every setting is a flag (--grpc-port), an environment variable (HEADRACE_GRPC_PORT) and a key
    of the TOML file (grpc_port); the flag wins, then the environment, then the file.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_",
        extra="forbid",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_prog_name="headrace serve",
    )

    node_id: str = Field(
        "", description="this node's name on the status topic (default: HOST-GRPC_PORT)"
    )
    host: str = Field("0.0.0.0", description="address that the gRPC and HTTP ports listen on")
    advertised_host: str = Field(
        "",
        description="host that the status topic gives for this node (default: --host, or the "
        "machine's name when that is every address)",
    )
    grpc_port: Port = Field(8500, description="gRPC port; 0 takes a free one")
    http_port: Port = Field(8501, description="HTTP port; 0 takes a free one")
    group: str = Field("headrace", description="Kafka consumer group that shares the requests")
    session_timeout_seconds: Seconds = Field(
        10.0, description="silence after which the group gives this node's partitions to others"
    )
    control_topic: str = Field(_TOPICS.control, description="topic of versions and configurations")
    status_topic: str = Field(_TOPICS.status, description="topic of what every node serves")
    request_topic: str = Field(_TOPICS.requests, description="topic of inference requests")
    request_pattern: str = Field(
        "",
        description="regular expression of request topics, instead of the one: a model may have a "
        "topic of its own",
    )
    response_topic: str = Field(
        _TOPICS.responses, description="topic of answers whose request names no reply topic"
    )
    dead_letter_topic: str = Field(_TOPICS.dead_letters, description="topic of unreadable requests")
    schema_registry_url: str = Field(
        "",
        description="Confluent Schema Registry whose framing requests may have; needs "
        "headrace[registry]",
    )
    schema_registry_user_info: SecretStr = Field(
        SecretStr(""),
        description="user:password for the schema registry, unless its URL has them",
    )
    schema_registry_ca_file: str = Field(
        "", description="certificates (PEM) that vouch for the schema registry"
    )
    schema_registry_timeout_seconds: Seconds = Field(
        5.0, description="longest wait for the schema registry before requests are refused"
    )
    create_topics: bool = Field(True, description="create the topics that do not exist")
    claim_stores: str = Field(
        "",
        description="where payloads may lie that requests only claim: folders or URIs, separated "
        "by commas; without any, such requests are refused",
    )
    claim_max_bytes: Positive = Field(
        64 * 2**20, description="largest payload that is fetched for a request"
    )
    model_control: bool = Field(
        True,
        description="whether clients of the doors may change what the fleet serves",
    )
    store: str = Field(
        "",
        description="where versions are stored that clients of the doors ask for, as a folder or "
        "URI that every node reads (default: the user's data folder, as for headrace publish)",
    )
    cache_dir: Annotated[Path, AfterValidator(_expanded)] = Field(
        Path(platformdirs.user_cache_dir("headrace")) / "artifacts",
        description="where verified copies of artefacts are kept",
    )
    cache_max_bytes: Positive = Field(
        20 * 2**30, description="what the cache may hold besides the versions in use"
    )
    load_slots: Positive = Field(1, description="versions loaded at once while others serve")
    initial_load_slots: Positive = Field(
        os.cpu_count() or 1, description="versions loaded at once before the node is ready"
    )
    load_attempts: Positive = Field(4, description="attempts before a version counts as failed")
    load_timeout_seconds: Seconds = Field(300.0, description="longest one load may take")
    first_backoff_seconds: Seconds = Field(1.0, description="wait after the first failed load")
    max_backoff_seconds: Seconds = Field(30.0, description="longest wait between two loads")
    drain_seconds: Seconds = Field(
        30.0, description="longest wait for running requests at unload and at shutdown"
    )
    max_queue_calls: Positive = Field(
        4096, description="requests that may queue for one version before gRPC and HTTP refuse more"
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="compute threads of each worker; 0 is one per core"
    )
    default_timeout_seconds: Seconds = Field(
        30.0, description="deadline of a request that brings none"
    )
    delivery: DeliveryGuarantee = Field(
        DeliveryGuarantee.EXACTLY_ONCE,
        description="answers over Kafka: exactly_once, or at_least_once for less latency",
    )
    transaction_interval_seconds: Annotated[float, Field(ge=0, le=5)] = Field(
        0.02,
        description="shortest time between two transactions of a partition that has few requests",
    )
    max_transaction_records: Positive = Field(
        8000, description="requests after which a transaction waits no longer"
    )
    max_in_flight_bytes: Positive = Field(
        128 * 2**20,
        description="requests taken and not yet answered: from Kafka, all partitions together; "
        "over HTTP, all bodies and answers together",
    )
    max_message_bytes: Positive = Field(
        64 * 2**20, description="largest gRPC message taken or sent, largest HTTP body taken"
    )
    heartbeat_seconds: Seconds = Field(2.0, description="time between two signs of life")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe event that is logged"
    )
    log_format: Literal["auto", "pretty", "json"] = Field(
        "auto", description="pretty on a terminal, JSON elsewhere"
    )
    config: Path | None = Field(None, description="TOML file with settings")
    print_config: bool = Field(False, description="print the settings in force, and stop")

    @property
    def node(self) -> str:
        """The node's name: what was set, or host and gRPC port (with a free port, process id).

        Raises:
            NodeError: none was set, and the port does not tell nodes apart.
        """
        if self.share_port and not self.node_id:
            raise NodeError("--share-port needs --node-id: else nodes would go by the same name")
        return self.node_id or f"{socket.gethostname()}-{self.grpc_port or os.getpid()}"

    @property
    def reachable_host(self) -> str:
        """The host by which others reach the doors, as far as this machine can know."""
        everywhere = {"0.0.0.0", "::", "[::]", ""}
        return self.advertised_host or (
            socket.gethostname() if self.host in everywhere else self.host
        )

    @property
    def topics(self) -> Topics:
        """The topics by role."""
        return Topics(
            control=self.control_topic,
            status=self.status_topic,
            requests=self.request_topic,
            responses=self.response_topic,
            dead_letters=self.dead_letter_topic,
            shadow=self.shadow_topic,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the TOML file below the environment."""
        path = init_settings().get("config") or env_settings().get("config")
        toml = TomlConfigSettingsSource(settings_cls, path) if path else None
        return (init_settings, env_settings, *([toml] if toml else []))

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Self:
        """Return the settings for a command line.

        Raises:
            NodeError: a value that cannot be used, with every fault in words.
            SystemExit: for --help (code 0) and unknown flags (code 2), by argparse.
        """
        flags: CliSettingsSource[Any] = CliSettingsSource(cls, cli_parse_args=list(arguments))
        given = flags()
        try:
            path = given.get("config") or os.environ.get("HEADRACE_CONFIG")
            if path and not Path(path).is_file():
                raise NodeError(f"no settings file at {path}: --config takes a TOML file")
            return cls(**given)
        except ValidationError as error:
            faults = "; ".join(map(_fault, error.errors()))
            raise NodeError(f"settings that cannot be used: {faults}") from error
        except (SettingsError, ValueError, OSError) as error:
            raise NodeError(f"settings that cannot be read: {error}") from error

    def as_toml(self) -> str:
        """Return the settings in force as a TOML file would say them."""
        lines: list[str] = []
        for name, value in self.model_dump(mode="json", exclude={"config", "print_config"}).items():
            if isinstance(getattr(self, name), SecretStr):
                lines.append(f"# {name} is {'set, and not shown' if value else 'not set'}")
            elif value is not None:
                lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
        return "\n".join(lines)


def _fault(fault: ErrorDetails) -> str:
    """Say what is wrong with one setting; a misspelt one may hold a secret."""
    name = ".".join(map(str, fault["loc"]))
    is_secret = "password" in name or fault["type"] == "extra_forbidden"
    given = "" if is_secret else f" (got {fault['input']!r})"
    return f"{name}: {fault['msg']}{given}"
