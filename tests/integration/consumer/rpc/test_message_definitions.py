"""Our message definitions beside the official ones, field by field."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from headrace.protos import (
    open_inference_pb2,
    tensorflow_error_pb2,
    tensorflow_pb2,
    tensorflow_serving_config_pb2,
    tensorflow_serving_pb2,
)

# Importing these registers the official definitions, and imports TensorFlow.
import_module("tritonclient.grpc.service_pb2")
for official_module in ("prediction_log", "model_service", "prediction_service"):
    import_module(f"tensorflow_serving.apis.{official_module}_pb2")
OFFICIAL = descriptor_pool.Default()
FILES = [
    module.DESCRIPTOR
    for module in (
        open_inference_pb2,
        tensorflow_pb2,
        tensorflow_error_pb2,
        tensorflow_serving_config_pb2,
        tensorflow_serving_pb2,
    )
]
OMITTED = {
    # Kinds of warm-up records that are not run, and their metadata.
    "PredictionLog": {"log_metadata", "predict_streamed_log", "session_run_log"},
    # Other servers mean something else by it.
    "ModelMetadataResponse": {"properties"},
    # What Triton alone does.
    "ModelInput": {
        "format",
        "reshape",
        "is_shape_tensor",
        "allow_ragged_batch",
        "optional",
        "is_non_linear_format_io",
    },
    "ModelOutput": {"reshape", "label_filename", "is_shape_tensor", "is_non_linear_format_io"},
}
ONLY: dict[str, set[str]] = {
    # Of some thirty fields those that are true of any model.
    "inference.ModelConfig": {"name", "platform", "max_batch_size", "input", "output"},
}


def public(name: str) -> str:
    """Return the public form of one of our names."""
    return name.removeprefix("headrace.")


def messages_of(message: Descriptor) -> list[Descriptor]:
    """Return a message and all those nested in it."""
    nested = [inner for child in message.nested_types for inner in messages_of(child)]
    return [message, *nested]


def enums_of(message: Descriptor) -> list[EnumDescriptor]:
    """Return the enums of a message and of those nested in it."""
    return [enum for inner in messages_of(message) for enum in inner.enum_types]


TOP = [message for file in FILES for message in file.message_types_by_name.values()]
MESSAGES = [message for top in TOP for message in messages_of(top)]
ENUMS = [
    *(enum for file in FILES for enum in file.enum_types_by_name.values()),
    *(enum for top in TOP for enum in enums_of(top)),
]


def shape_of(field: FieldDescriptor) -> dict[str, object]:
    """Return everything about a field that the wire or JSON depends on."""
    shape: dict[str, object] = {
        name: getattr(field, name)
        for name in ("name", "json_name", "number", "type", "is_repeated", "has_presence")
    }
    if field.is_repeated:
        shape["is_packed"] = field.is_packed
    for part in (field.message_type, field.enum_type, field.containing_oneof):
        shape[type(part).__name__] = public(part.full_name) if part is not None else None
    return shape


def name_of(descriptor: Any) -> str:  # noqa: ANN401 - a message or an enum
    """Return the name of a parametrised case."""
    return public(descriptor.full_name)


@pytest.mark.parametrize("ours", MESSAGES, ids=name_of)
def test_message_has_the_official_fields(ours: Descriptor) -> None:
    """Same numbers, types, labels and JSON names, and nothing left out by mistake."""
    theirs = OFFICIAL.FindMessageTypeByName(public(ours.full_name))
    assert [shape_of(field) for field in sorted(ours.fields, key=lambda field: field.number)] == [
        shape_of(field)
        for field in sorted(theirs.fields, key=lambda field: field.number)
        if field.name not in OMITTED.get(ours.name, set())
        and field.name in ONLY.get(name_of(ours), {field.name})
    ]
    assert ours.GetOptions().map_entry == theirs.GetOptions().map_entry


@pytest.mark.parametrize("ours", ENUMS, ids=name_of)
def test_enum_has_the_official_values(ours: EnumDescriptor) -> None:
    """Same names and numbers, all of them."""
    theirs = OFFICIAL.FindEnumTypeByName(public(ours.full_name))
    assert {value.name: value.number for value in ours.values} == {
        value.name: value.number for value in theirs.values
    }


@pytest.mark.parametrize(
    "ours",
    [service for file in FILES for service in file.services_by_name.values()],
    ids=name_of,
)
def test_service_has_official_methods(ours: Any) -> None:  # noqa: ANN401 - untyped in the library
    """Every method that we serve takes and returns the official messages."""
    theirs = cast("Any", OFFICIAL).FindServiceByName(public(ours.full_name))
    for method in ours.methods:
        official = theirs.methods_by_name[method.name]
        assert public(method.input_type.full_name) == official.input_type.full_name
        assert public(method.output_type.full_name) == official.output_type.full_name
        assert method.client_streaming == official.client_streaming
        assert method.server_streaming == official.server_streaming
