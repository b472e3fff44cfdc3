"""ServerLive, ServerReady, ServerMetadata, ModelReady, ModelMetadata, and what is not served."""

from __future__ import annotations

from typing import Any, cast

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.conformance.open_inference.clients import SERVICE, AnyTriton, half, message, refusal
from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO, PLATFORMS
from tests.integration.consumer.rpc.triton import messages


def numbers_of(encoded: bytes) -> set[int]:
    """Return the numbers of the fields in an encoded message."""
    fields = cast("Any", UnknownFieldSet)(Empty.FromString(encoded))
    return {field.field_number for field in fields}


def test_server_live(triton: AnyTriton) -> None:
    """ServerLiveRequest: none; ServerLiveResponse: 1 live bool."""
    assert triton.ask("is_server_live") is True


def test_server_ready(triton: AnyTriton) -> None:
    """ServerReadyRequest: none; ServerReadyResponse: 1 ready bool."""
    assert triton.ask("is_server_ready") is True


def test_server_metadata(triton: AnyTriton) -> None:
    """ServerMetadataResponse: 1 name string; 2 version string; 3 extensions repeated string."""
    answer = triton.ask("get_server_metadata")
    assert answer.name == "headrace"
    assert answer.version
    assert "model_repository" in answer.extensions


@pytest.mark.parametrize(
    ("name", "version", "is_ready"),
    [
        *((name, "", True) for name in HALF_PLUS_TWO),
        *((name, "1", True) for name in HALF_PLUS_TWO),
        ("many", "stable", True),
        ("tf2", "9", False),
        ("many", "nosuch", False),
        ("nobody", "", False),
    ],
)
def test_model_ready(triton: AnyTriton, name: str, version: str, is_ready: bool) -> None:
    """ModelReadyRequest: 1 name string; 2 version string; unknown: NOT_FOUND or ready=false."""
    assert triton.ask("is_model_ready", name, version) is is_ready


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_model_metadata(triton: AnyTriton, name: str, version: str) -> None:
    """1 name; 2 versions repeated; 3 platform; 4 inputs, 5 outputs: name, datatype, shape (-1)."""
    answer = triton.ask("get_model_metadata", name, version)
    assert (answer.name, list(answer.versions)) == (name, ["1"])
    assert answer.platform == PLATFORMS[name]
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.inputs] == [
        ("x", "FP32", [-1, 1])
    ]
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("y", "FP32", [-1, 1])
    ]


def test_model_metadata_names_all_versions(triton: AnyTriton) -> None:
    """2 versions repeated string."""
    assert list(triton.ask("get_model_metadata", "many").versions) == ["1", "2", "3"]


@pytest.mark.parametrize("name", EVERY_KIND)
def test_model_metadata_of_a_model_without_serving_default(triton: AnyTriton, name: str) -> None:
    """Inputs and outputs are those of the first signature by name, here bfloat16."""
    answer = triton.ask("get_model_metadata", name)
    assert [(each.name, each.datatype) for each in answer.inputs] == [("x", "BF16")]
    assert {each.name: (each.datatype, list(each.shape)) for each in answer.outputs} == {
        "column": ("BF16", [-1]),
        "same": ("BF16", [-1, -1]),
    }


@pytest.mark.parametrize(("name", "version"), [("nobody", ""), ("tf2", "9")])
def test_model_metadata_of_an_unknown_model(triton: AnyTriton, name: str, version: str) -> None:
    """Unknown model or version: NOT_FOUND."""
    code, words = refusal(triton.ask, "get_model_metadata", name, version)
    assert code == "NOT_FOUND"
    assert name in words


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_model_config(triton: AnyTriton, name: str) -> None:
    """Triton adds ModelConfig; tritonclient's other libraries read it."""
    config = triton.ask("get_model_config", name).config
    assert (config.name, config.platform) == (name, PLATFORMS[name])
    kind = config.input[0].data_type
    assert (
        config.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[kind].name
        == "TYPE_FP32"
    )
    assert list(config.input[0].dims) == [-1, 1]
    assert [each.name for each in config.output] == ["y"]


ANSWERS = {
    "ServerLive": (messages.ServerLiveRequest(), {1}),
    "ServerReady": (messages.ServerReadyRequest(), {1}),
    "ServerMetadata": (messages.ServerMetadataRequest(), {1, 2, 3}),
    "ModelReady": (messages.ModelReadyRequest(name="tf2"), {1}),
    "ModelMetadata": (messages.ModelMetadataRequest(name="tf2"), {1, 2, 3, 4, 5}),
    "ModelInfer": (half("tf2", id="r"), {1, 2, 3, 5, 6}),
    "RepositoryIndex": (messages.RepositoryIndexRequest(), {1}),
}


@pytest.mark.parametrize("method", ANSWERS)
def test_field_numbers(channel: Any, method: str) -> None:  # noqa: ANN401 - as the fixture
    """Every field has the protocol's number; ModelMetadataResponse: leave 6 unset."""
    request, numbers = ANSWERS[method]
    answer = channel.unary_unary(f"{SERVICE}/{method}")(request.SerializeToString(), timeout=30)
    assert numbers_of(answer) == numbers


@pytest.mark.parametrize(
    "method",
    [
        "get_inference_statistics",
        "get_trace_settings",
        "get_log_settings",
        "get_system_shared_memory_status",
        "get_cuda_shared_memory_status",
        "unregister_system_shared_memory",
        "unregister_cuda_shared_memory",
    ],
)
def test_extensions_that_are_not_served(triton: AnyTriton, method: str) -> None:
    """ModelStatistics, shared memory, TraceSetting, LogSettings: unsupported is UNIMPLEMENTED."""
    code, words = refusal(triton.ask, method)
    assert code == "UNIMPLEMENTED"
    assert "served here" in words or "over gRPC here" in words


def test_registering_shared_memory_is_unimplemented(triton: AnyTriton) -> None:
    """SystemSharedMemoryRegister: unsupported is UNIMPLEMENTED."""
    assert refusal(triton.ask, "register_system_shared_memory", "r", "/r", 8)[0] == "UNIMPLEMENTED"


def test_older_repository_service_of_mlserver_is_unimplemented(channel: Any) -> None:  # noqa: ANN401 - as the fixture
    """MLServer also exposes inference.model_repository.ModelRepositoryService: not here."""
    path = "/inference.model_repository.ModelRepositoryService/RepositoryIndex"
    call = channel.unary_unary(path)
    assert refusal(call, b"", timeout=30)[0] == "UNIMPLEMENTED"


def test_bytes_that_are_no_message_are_invalid(channel: Any) -> None:  # noqa: ANN401 - as the fixture
    """Invalid is INVALID_ARGUMENT, for every method that reads something."""
    for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelInfer", "RepositoryIndex"):
        call = channel.unary_unary(f"{SERVICE}/{method}")
        assert refusal(call, b"\xff" * 9, timeout=30)[0] == "INVALID_ARGUMENT", method


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
def test_request_without_a_name_is_invalid(stub: Any, method: str) -> None:  # noqa: ANN401 - untyped
    """1 name string is required."""
    request = getattr(messages, f"{method}Request")()
    assert refusal(getattr(stub, method), request, timeout=30)[0] == "INVALID_ARGUMENT"
    assert refusal(stub.ModelInfer, message(""), timeout=30)[0] == "INVALID_ARGUMENT"
