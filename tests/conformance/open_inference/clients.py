"""Triton's clients, unmodified, and its own messages for what the clients cannot express."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio  # type: ignore[import-untyped]

from tests.integration.consumer.rpc.triton import Error, inputs_of, messages, sync_client

SERVICE = "/inference.GRPCInferenceService"
PATIENCE_SECONDS = 30.0
X = np.array([[1], [2], [5]], np.float32)
Y = X / 2 + 2

Answers = list[tuple[Any, Any]]


class Triton:
    """Triton's blocking client."""

    def __init__(self, address: str) -> None:
        self._client = sync_client(address)

    def ask(self, method: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401 - untyped
        """Call a method of the client."""
        options.setdefault("client_timeout", PATIENCE_SECONDS)
        return getattr(self._client, method)(*arguments, **options)

    def converse(self, requests: Sequence[Mapping[str, Any]]) -> Answers:
        """Send requests on one stream; return each result or error."""
        answers: Answers = []

        def hear(result: Any, error: Any) -> None:  # noqa: ANN401 - untyped
            answers.append((result, error))

        self._client.start_stream(hear, stream_timeout=PATIENCE_SECONDS)
        for request in requests:
            self._client.async_stream_infer(**request)
        self._client.stop_stream()
        return answers

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class AioTriton:
    """Triton's asyncio client, on a loop of its own."""

    def __init__(self, address: str) -> None:
        self._runner = asyncio.Runner()

        async def connect() -> Any:  # noqa: ANN401 - untyped
            return cast("Any", tritonclient.grpc.aio).InferenceServerClient(address)

        self._client = self._runner.run(connect())

    def ask(self, method: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401 - untyped
        """Call a method of the client."""
        options.setdefault("client_timeout", PATIENCE_SECONDS)
        return self._runner.run(getattr(self._client, method)(*arguments, **options))

    def converse(self, requests: Sequence[Mapping[str, Any]]) -> Answers:
        """Send requests on one stream; return each result or error."""

        async def sent() -> AsyncGenerator[Mapping[str, Any]]:
            for request in requests:
                yield dict(request)

        async def read() -> Answers:
            stream = self._client.stream_infer(sent(), stream_timeout=PATIENCE_SECONDS)
            return [each async for each in stream]

        return self._runner.run(read())

    def close(self) -> None:
        """Hang up."""
        self._runner.run(self._client.close())
        self._runner.close()


AnyTriton = Triton | AioTriton
KINDS: Mapping[str, type[AnyTriton]] = {
    "tritonclient.grpc": Triton,
    "tritonclient.grpc.aio": AioTriton,
}


@contextmanager
def connected(kind: str, address: str) -> Generator[AnyTriton, None, None]:
    """Open a client of a kind."""
    client = KINDS[kind](address)
    try:
        yield client
    finally:
        client.close()


def refusal(call: Callable[..., object], *arguments: object, **options: object) -> tuple[str, str]:
    """Return the code and the words that a call ends in."""
    with pytest.raises((Error, grpc.RpcError)) as raised:
        call(*arguments, **options)
    error = cast("Any", raised.value)
    if isinstance(error, grpc.RpcError):
        return error.code().name, error.details() or ""
    return str(error.status()).removeprefix("StatusCode."), str(error.message())


def floats(*rows: float) -> Any:  # noqa: ANN401 - untyped
    """Return the input of half plus two as Triton's client takes it."""
    return inputs_of(x=np.array(rows or X.ravel(), np.float32).reshape(-1, 1))


def message(model: str, **fields: object) -> Any:  # noqa: ANN401 - untyped
    """Return a ModelInferRequest of Triton's, without tensors; a signature may be among fields."""
    signature = fields.pop("signature", None)
    request = messages.ModelInferRequest(model_name=model, **fields)
    if signature:
        request.parameters["headrace_signature"].string_param = signature
    return request


def with_raw(request: Any, name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Any:  # noqa: ANN401 - untyped
    """Add a packed input."""
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)
    return request


def with_typed(
    request: Any,  # noqa: ANN401 - untyped
    name: str,
    datatype: str,
    shape: Sequence[int],
    **contents: Sequence[object],
) -> Any:  # noqa: ANN401 - untyped
    """Add an input in typed fields."""
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return request


def half(model: str, *values: float, **fields: object) -> Any:  # noqa: ANN401 - untyped
    """Return a packed request to half plus two."""
    given = values or (1.0, 2.0, 5.0)
    raw = struct.pack(f"<{len(given)}f", *given)
    return with_raw(message(model, **fields), "x", "FP32", [len(given), 1], raw)


def prefixed(*strings: bytes) -> bytes:
    """Return strings as BYTES are packed: each after its length."""
    return b"".join(struct.pack("<I", len(each)) + each for each in strings)
