"""The one file that calls Confluent's Schema Registry client, and turns its troubles into ours.

The client is an optional dependency (`headrace[registry]`): it is imported when a registry is
opened, and never otherwise.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from headrace.consumer.core.errors import NodeError, RegistryUnavailable
from headrace.schemas.errors import SchemaRefused, UnknownFingerprint

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, SchemaRegistryError

_AVRO: Final = "AVRO"
_MAX_DETAIL: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """Where a schema registry is and how it is asked.

    Attributes:
        url: its address, or several with commas between them; may carry `user:password@`.
        user_info: `user:password` for basic authentication, when the address has none.
        ca_file: certificates (PEM) that vouch for it; empty for the public ones.
        timeout_seconds: how long all that one batch of requests needs of it may take.
    """

    url: str
    user_info: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_seconds: float = 5.0


class RegistrySilent(RegistryUnavailable):
    """The registry gave no answer at all; it would not answer another question either."""


class RegistryClient:
    """Schemas by id, and the ids of schemas.

    **Concurrency:** event loop only.
    """

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        hosts = [urlsplit(url.strip()).netloc.rpartition("@")[2] for url in options.url.split(",")]
        self._where = f"the schema registry at {', '.join(hosts)}"
        self._client: AsyncSchemaRegistryClient
        self._error: type[SchemaRegistryError]
        self._life = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Get ready to ask; asks nothing yet.

        Raises:
            NodeError: the client is not installed, or cannot use these options.
        """
        try:
            from confluent_kafka.schema_registry import (  # noqa: PLC0415 - an optional dependency
                AsyncSchemaRegistryClient,
                SchemaRegistryError,
            )
        except ImportError as error:
            raise NodeError(
                f"schema_registry_url is set, and its client cannot be imported ({error}): "
                "install headrace[registry]"
            ) from error
        options = self._options
        settings: dict[str, str | float] = {
            "url": options.url,
            "timeout": options.timeout_seconds,
            "max.retries": 1,
            "retries.wait.ms": 100,
        }
        if options.user_info:
            settings["basic.auth.user.info"] = options.user_info
        if options.ca_file:
            settings["ssl.ca.location"] = options.ca_file
        try:
            client = AsyncSchemaRegistryClient(settings)
        except (ValueError, TypeError, OSError) as error:
            raise NodeError(f"settings of the schema registry cannot be used: {error}") from error
        self._client = await self._life.enter_async_context(client)
        self._error = SchemaRegistryError
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._life.__aexit__(kind, error, traceback)

    async def schema(self, schema_id: int) -> str:
        """Return the Avro schema of an id, as JSON text.

        Raises:
            UnknownFingerprint: the registry has no such schema.
            SchemaRefused: it is no Avro schema, or not one that stands alone.
            RegistryUnavailable: the registry refused to say.
            RegistrySilent: it did not answer.
        """
        try:
            found = await self._client.get_schema(schema_id)
        except self._error as error:
            if error.http_status_code == HTTPStatus.NOT_FOUND:
                raise UnknownFingerprint(f"{self._where} has no schema {schema_id}") from error
            raise self._trouble(error) from error
        except Exception as error:  # door: the client answers trouble with any exception
            raise self._trouble(error) from error
        if found.schema_type not in (None, _AVRO) or found.schema_str is None:
            raise SchemaRefused(f"schema {schema_id} is {found.schema_type}; expected {_AVRO}")
        if found.references:
            raise SchemaRefused(
                f"schema {schema_id} refers to other subjects, which is not followed: register it "
                "with its types inside"
            )
        return found.schema_str

    async def id_of(self, subject: str, schema: str) -> int:
        """Return the id of an Avro schema under a subject; register it when it is not there.

        Raises:
            RegistryUnavailable: the registry refused.
            RegistrySilent: it did not answer.
        """
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415

        wanted = Schema(schema, _AVRO)
        try:
            try:
                found = await self._client.lookup_schema(subject, wanted)
            except self._error as error:
                if error.http_status_code != HTTPStatus.NOT_FOUND:
                    raise
                found = await self._client.register_schema_full_response(subject, wanted)
        except Exception as error:  # door: the client answers trouble with any exception
            raise self._trouble(error) from error
        if found.schema_id is None:
            raise RegistryUnavailable(f"{self._where} gave no id for {subject}")
        return found.schema_id

    def timed_out(self) -> RegistrySilent:
        """Return what is to be said when the time is over."""
        seconds = self._options.timeout_seconds
        return RegistrySilent(f"{self._where} did not answer within {seconds:g} s")

    def _trouble(self, error: Exception) -> RegistryUnavailable:
        words = " ".join(str(error).split())[:_MAX_DETAIL] or type(error).__name__
        if isinstance(error, self._error):
            return RegistryUnavailable(f"{self._where} refused: {words}")
        return RegistrySilent(f"{self._where} cannot be reached: {words}")
