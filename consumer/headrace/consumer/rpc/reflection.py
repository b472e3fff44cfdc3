"""Server reflection: what clients such as grpcurl ask a server about its services.

Our message definitions live in packages of our own (see `docs/decisions/0006`); here they get their
public names back, in a descriptor pool that nothing else uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection,
    reflection_pb2,
)

from headrace.protos import open_inference_pb2, tensorflow_serving_pb2

REFLECTION_SERVICE: Final = reflection.SERVICE_NAME
NEWER_REFLECTION_SERVICE: Final = "grpc.reflection.v1.ServerReflection"
"""Asked first by newer clients. It differs in nothing but the name, and is not listed."""

_OURS: Final = "headrace."


def reflection_handlers(services: Iterable[str]) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the reflection services of a server that has `services`."""
    servicer = cast(
        "Any",
        reflection.aio.ReflectionServicer((*services, REFLECTION_SERVICE), pool=public_pool()),
    )
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return tuple(
        grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": info})
        for service in (REFLECTION_SERVICE, NEWER_REFLECTION_SERVICE)
    )


def public_pool() -> DescriptorPool:
    """Return a pool with every definition that a client may ask for, under its public name."""
    pool = DescriptorPool()
    seen: set[str] = set()
    for module in (tensorflow_serving_pb2, open_inference_pb2, health_pb2, reflection_pb2):
        _add(module.DESCRIPTOR, pool, seen)
    return pool


def _add(file: FileDescriptor, pool: DescriptorPool, seen: set[str]) -> None:
    """Add a file after all files that it imports."""
    if file.name in seen:
        return
    seen.add(file.name)
    for imported in file.dependencies:
        _add(imported, pool, seen)
    definition = FileDescriptorProto()
    file.CopyToProto(definition)
    if definition.package.startswith(_OURS):
        _publish(definition)
    pool.Add(definition)


def _publish(file: FileDescriptorProto) -> None:
    """Give a file of ours its public names."""
    file.package = file.package.removeprefix(_OURS)
    for message in file.message_type:
        _publish_message(message)
    for service in file.service:
        for method in service.method:
            method.input_type = _public(method.input_type)
            method.output_type = _public(method.output_type)


def _publish_message(message: DescriptorProto) -> None:
    for field in message.field:
        if field.type_name:
            field.type_name = _public(field.type_name)
    for nested in message.nested_type:
        _publish_message(nested)


def _public(name: str) -> str:
    """Return the public form of a fully qualified name, which begins with a dot."""
    return "." + name.removeprefix(".").removeprefix(_OURS)
