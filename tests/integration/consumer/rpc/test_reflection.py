"""Server reflection, called by grpcio's own reflection client."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)

from tests.fakes.half_plus_two import predict_request
from tests.integration.consumer.rpc.rig import Rig


def reflected(port: int) -> tuple[list[str], list[float]]:
    """Return the services of a server, and what it predicts for a client that knows no types."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = cast("Any", ProtoReflectionDescriptorDatabase(channel))
        services = list(database.get_services())
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("tensorflow.serving.PredictionService")
        method = service.methods_by_name["Predict"]
        request = GetMessageClass(method.input_type).FromString(
            predict_request("half_plus_two", [1.0]).SerializeToString()
        )
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            type(request).SerializeToString,
            GetMessageClass(method.output_type).FromString,
        )
        response = cast("Any", call(request))
        return services, list(response.outputs["y"].float_val)


async def test_client_that_knows_nothing_lists_describes_and_calls(rig: Rig) -> None:
    """Clients such as grpcurl find the public names, and can call by them."""
    async with rig.door() as door:
        services, outputs = await asyncio.to_thread(reflected, door.port)
    assert services == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]
    assert outputs == [2.5]


def inferred_by_reflection(port: int) -> bool:
    """Return whether a server that describes itself says that half_plus_two is ready."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        pool = DescriptorPool(cast("Any", ProtoReflectionDescriptorDatabase(channel)))
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        stream = service.methods_by_name["ModelStreamInfer"]
        assert stream.client_streaming
        assert stream.server_streaming
        method = service.methods_by_name["ModelReady"]
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            GetMessageClass(method.input_type).SerializeToString,
            GetMessageClass(method.output_type).FromString,
        )
        request = cast("Any", GetMessageClass(method.input_type))(name="half_plus_two")
        return bool(cast("Any", call(request)).ready)


async def test_describes_the_open_inference_service(rig: Rig) -> None:
    """Also its streams, and the messages of all its methods."""
    async with rig.door() as door:
        assert await asyncio.to_thread(inferred_by_reflection, door.port)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_of_the_protocol_answer(channel: aio.Channel, version: str) -> None:
    """Newer clients ask by the newer name first."""
    pb2 = cast("Any", reflection_pb2)
    ask: Any = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        pb2.ServerReflectionRequest.SerializeToString,
        pb2.ServerReflectionResponse.FromString,
    )
    call = ask(iter([pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.TensorProto")]))
    (response,) = [response async for response in call]
    assert response.HasField("file_descriptor_response")
