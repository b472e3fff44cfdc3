"""Triton's own client and message stubs, unmodified, which have no types."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc  # type: ignore[import-untyped]
import tritonclient.grpc.aio  # type: ignore[import-untyped]
import tritonclient.utils  # type: ignore[import-untyped]
from grpc import aio

from headrace.protos import open_inference_pb2 as ours
from tests.integration.consumer.rpc.rig import Rig

Client = Any
"""Triton's client, of either kind."""

sync_client = cast("Any", tritonclient.grpc).InferenceServerClient
messages = cast("Any", tritonclient.grpc).service_pb2
Error = cast("type[Exception]", cast("Any", tritonclient.utils).InferenceServerException)
RequestedOutput = cast("Any", tritonclient.grpc).InferRequestedOutput


def inputs_of(**arrays: npt.NDArray[Any]) -> list[Any]:
    """Return inputs as Triton's client takes them."""
    made: list[Any] = []
    for name, array in arrays.items():
        datatype = cast("Any", tritonclient.utils).np_to_triton_dtype(array.dtype)
        tensor = cast("Any", tritonclient.grpc).InferInput(name, array.shape, datatype)
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def floats(*values: float) -> list[Any]:
    """Return the input of half plus two."""
    return inputs_of(x=np.array(values, np.float32))


def packed(*values: float, **fields: object) -> ours.ModelInferRequest:
    """Return a request to half plus two as Triton's own message, its tensor packed."""
    array = np.array(values, np.float32)
    request = messages.ModelInferRequest(model_name="half_plus_two", **fields)
    request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    return cast("ours.ModelInferRequest", request)


@asynccontextmanager
async def aio_client(rig: Rig) -> AsyncGenerator[Client, None]:
    """Open the door and Triton's asyncio client to it."""
    async with rig.door() as door:
        client = cast("Any", tritonclient.grpc.aio).InferenceServerClient(f"127.0.0.1:{door.port}")
        try:
            yield client
        finally:
            await client.close()


def stub(channel: aio.Channel) -> Any:  # noqa: ANN401 - Triton's stub has no types
    """Return Triton's generated stub."""
    return cast("Any", tritonclient.grpc).service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def error_of(call: Awaitable[object]) -> tuple[str, str]:
    """Return the code and the words that a call ends in."""
    with pytest.raises(Error) as raised:
        await call
    error = cast("Any", raised.value)
    return str(error.status()).removeprefix("StatusCode."), str(error.message())


def parameters_of(response: ours.ModelInferResponse) -> Mapping[str, object]:
    """Return the parameters of an answer as plain values."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "")
        for name, value in response.parameters.items()
    }
