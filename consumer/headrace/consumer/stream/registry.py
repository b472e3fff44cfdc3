"""Confluent Schema Registry framing: a zero byte, a schema id of 4 bytes, an Avro datum.

Turns framed requests into our own single-object encoding, before anything reads a route, and our
answers into framed ones. A request written with a schema that we ship changes its header only; one
written with another is read by Avro's schema resolution and written anew.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeAlias

from headrace.consumer.core.errors import RegistryUnavailable
from headrace.consumer.stream.registry_client import RegistryClient, RegistryOptions, RegistrySilent
from headrace.schemas import codec
from headrace.schemas.errors import UnknownFingerprint, WireError
from headrace.schemas.records import InferenceRequest, InferenceResponse
from headrace.schemas.writer_schemas import HEADER_BYTES, WriterSchemas, load_current

Unframed: TypeAlias = "bytes | WireError | RegistryUnavailable"

MAGIC: Final = b"\x00"
FRAME_BYTES: Final = 5
MAX_VALUE_BYTES: Final = 64 * 2**20
MAX_REMEMBERED: Final = 1024
REFUSAL_SECONDS: Final = 5.0
"""How long a schema that cannot be used is not asked for again."""
OUTAGE_SECONDS: Final = 1.0
"""How long a registry that is silent is not asked again; requests get its error at once."""

_ANSWER_SCHEMA: Final = json.dumps(load_current(InferenceResponse.__name__))


class _Known(NamedTuple):
    """The header of a schema, and what reads its records unless every reader can."""

    header: bytes
    writers: WriterSchemas | None


class _Refused(NamedTuple):
    """Why a schema cannot be used; void after `until_seconds` of the monotonic clock."""

    error: WireError | RegistryUnavailable
    until_seconds: float


@asynccontextmanager
async def open_registry(options: RegistryOptions) -> AsyncGenerator[Registry]:
    """Get ready to ask a registry, and close the connections at the end; asks nothing yet.

    Raises:
        NodeError: the client is not installed, or cannot use these options.
    """
    async with RegistryClient(options) as client:
        yield Registry(client, options.timeout_seconds)


def is_framed(value: bytes) -> bool:
    """Return whether a value is framed for a schema registry; its answer is to be, too."""
    return value[:1] == MAGIC and len(value) > FRAME_BYTES


class Registry:
    """The schemas of one schema registry, each fetched once.

    **Concurrency:** event loop only; any number of tasks. One question is asked at a time.
    """

    def __init__(self, client: RegistryClient, timeout_seconds: float) -> None:
        """Ask `client`, for at most this long for all that one call needs."""
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._asking = asyncio.Lock()
        self._schemas: dict[int, _Known | _Refused] = {}
        self._frames: dict[str, bytes] = {}
        self._outage = ""
        self._outage_until_seconds = 0.0

    async def unframe(self, values: Sequence[bytes]) -> list[Unframed]:
        """Return each value in single-object encoding, or why that cannot be; in their order.

        Values that are not framed come back as they are. A `WireError` is the sender's fault; with
        `RegistryUnavailable` the same value may do later.
        """
        results: list[Unframed] = list(values)
        wanted: dict[int, list[int]] = {}
        for place, value in enumerate(values):
            if is_framed(value):
                wanted.setdefault(int.from_bytes(value[1:FRAME_BYTES]), []).append(place)
        found = await self._find(wanted) if wanted else {}
        for schema_id, places in wanted.items():
            schema = found[schema_id]
            if not isinstance(schema, _Known):
                rewritten: Iterable[Unframed] = [schema] * len(places)
            elif schema.writers is None:
                rewritten = [schema.header + values[place][FRAME_BYTES:] for place in places]
            else:
                framed = [values[place] for place in places]
                rewritten = await asyncio.to_thread(_rewritten, framed, schema)
            for place, result in zip(places, rewritten, strict=True):
                results[place] = result
        return results

    async def frame(self, topic: str, values: Sequence[bytes]) -> list[bytes]:
        """Return InferenceResponses in single-object encoding as framed values for a topic.

        The schema is looked up under the subject `<topic>-value`, and registered if it is not
        there.

        Raises:
            RegistryUnavailable: the registry did not answer in time, or refuses the schema.
        """
        frame = self._frames.get(topic)
        if frame is None:
            async with self._question():
                answer_id = await self._client.id_of(f"{topic}-value", _ANSWER_SCHEMA)
            frame = MAGIC + answer_id.to_bytes(FRAME_BYTES - 1)
            if len(self._frames) >= MAX_REMEMBERED:
                self._frames.clear()
            self._frames[topic] = frame
        return [frame + value[HEADER_BYTES:] for value in values]

    async def _find(
        self, schema_ids: Iterable[int]
    ) -> dict[int, _Known | WireError | RegistryUnavailable]:
        found: dict[int, _Known | WireError | RegistryUnavailable] = {}
        missing = [each for each in schema_ids if not self._recall(each, found)]
        if not missing:
            return found
        try:
            async with self._question():
                for schema_id in missing:
                    # Another task may have asked while this one waited for its turn.
                    if not self._recall(schema_id, found):
                        await self._fetch(schema_id)
                        self._recall(schema_id, found)
        except RegistryUnavailable as error:
            for schema_id in missing:
                found.setdefault(schema_id, error)
        return found

    def _recall(
        self, schema_id: int, found: dict[int, _Known | WireError | RegistryUnavailable]
    ) -> bool:
        """Put what is remembered of a schema into `found`; return whether anything is."""
        schema = self._schemas.get(schema_id)
        if isinstance(schema, _Known):
            found[schema_id] = schema
        elif schema is not None and schema.until_seconds > time.monotonic():
            found[schema_id] = schema.error
        return schema_id in found

    async def _fetch(self, schema_id: int) -> None:
        """Fetch a schema, check that it is safe to read with, and remember it."""
        schema: _Known | _Refused
        try:
            text = await self._client.schema(schema_id)
            schema = await asyncio.to_thread(_known, text)
        except RegistrySilent:
            raise
        except (WireError, RegistryUnavailable) as error:
            schema = _Refused(error, time.monotonic() + REFUSAL_SECONDS)
        if len(self._schemas) >= MAX_REMEMBERED:
            self._schemas.clear()
        self._schemas[schema_id] = schema

    @asynccontextmanager
    async def _question(self) -> AsyncGenerator[None]:
        """Ask within the time allowed, one task at a time, and not a registry that is silent."""
        try:
            async with asyncio.timeout(self._timeout_seconds), self._asking:
                if time.monotonic() < self._outage_until_seconds:
                    raise RegistryUnavailable(self._outage)
                try:
                    yield
                except RegistrySilent as error:
                    self._note_outage(error)
                    raise
        except TimeoutError:
            silence = self._client.timed_out()
            self._note_outage(silence)
            raise silence from None

    def _note_outage(self, error: RegistrySilent) -> None:
        self._outage = str(error)
        self._outage_until_seconds = time.monotonic() + OUTAGE_SECONDS


def _known(text: str) -> _Known:
    """Vet a schema; blocking."""
    writers = WriterSchemas()
    header = writers.register(text)
    try:
        codec.SHIPPED.find(header)
    except UnknownFingerprint:
        return _Known(header, writers)
    return _Known(header, None)


def _rewritten(framed: Sequence[bytes], schema: _Known) -> list[Unframed]:
    """Return requests of a foreign schema in ours; blocking."""
    writers = schema.writers or codec.SHIPPED
    results: list[Unframed] = []
    for value in framed:
        try:
            request = codec.decode(
                schema.header + value[FRAME_BYTES:],
                InferenceRequest,
                max_bytes=MAX_VALUE_BYTES,
                writers=writers,
            )
            results.append(codec.encode(request))
        except WireError as error:
            results.append(error)
    return results
