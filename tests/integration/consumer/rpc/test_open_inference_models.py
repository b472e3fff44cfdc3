"""What Triton's own client asks before it infers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from importlib.metadata import version
from typing import Any

import pytest
from grpc import aio

from headrace.consumer.core.readiness import Phase
from tests.integration.consumer.rpc.rig import Rig, refusal
from tests.integration.consumer.rpc.triton import Client, aio_client, error_of, messages, stub


@pytest.fixture
async def triton(rig: Rig) -> AsyncGenerator[Client, None]:
    """Triton's asyncio client of a node that also serves version 4, and has 5 coming."""
    rig.serve("half_plus_two", 4)
    routes = rig.serving_map.model("half_plus_two")
    routes.labels, routes.coming = {"stable": 3, "next": 5}, frozenset({5})
    async with aio_client(rig) as client:
        yield client


@pytest.mark.parametrize("phase", Phase)
async def test_node_lives_before_it_is_ready(phase: Phase) -> None:
    """Whoever restarts nodes that do not live must not restart one that is loading."""
    rig = Rig()
    rig.serve("half_plus_two", 3)
    rig.readiness.enter(phase)
    async with aio_client(rig) as triton:
        assert await triton.is_server_live()
        assert await triton.is_server_ready() == (phase is Phase.READY)
        assert await triton.is_model_ready("half_plus_two") == (phase is Phase.READY)


@pytest.mark.parametrize(
    ("model", "named", "is_ready"),
    [
        ("half_plus_two", "", True),
        ("half_plus_two", "3", True),
        ("half_plus_two", "stable", True),
        ("half_plus_two", "next", False),
        ("half_plus_two", "5", False),
        ("half_plus_two", "9", False),
        ("half_plus_two", "stabel", False),
        ("none", "", False),
    ],
)
async def test_model_is_ready_when_a_request_would_be_passed_on(
    triton: Client, model: str, named: str, is_ready: bool
) -> None:
    """A model that is loading, or that nobody knows, is not ready: that is no error."""
    assert await triton.is_model_ready(model, named) == is_ready


async def test_version_that_cannot_be_one_is_refused(triton: Client) -> None:
    """It would never become ready."""
    code, message = await error_of(triton.is_model_ready("half_plus_two", "0"))
    assert code == "INVALID_ARGUMENT"
    assert "version '0' is no version" in message


async def test_server_says_what_it_is(triton: Client) -> None:
    """Only extensions that are served are named: clients choose by them."""
    metadata = await triton.get_server_metadata()
    assert (metadata.name, metadata.version) == ("headrace", version("headrace"))
    assert list(metadata.extensions) == [
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
    ]


@pytest.mark.parametrize("named", ["", "3", "stable"])
async def test_metadata_has_the_tensors_and_the_versions_that_serve(
    triton: Client, named: str
) -> None:
    """A version that is coming is not among them."""
    metadata = await triton.get_model_metadata("half_plus_two", named)
    assert metadata.name == "half_plus_two"
    assert list(metadata.versions) == ["3", "4"]
    assert metadata.platform == "tensorflow_savedmodel"
    (x,), (y,) = metadata.inputs, metadata.outputs
    assert (x.name, x.datatype, list(x.shape)) == ("x", "FP32", [-1])
    assert (y.name, y.datatype, list(y.shape)) == ("y", "FP32", [-1])


async def test_configuration_has_the_shapes_of_whole_tensors(triton: Client) -> None:
    """Triton's tools read from it what they send; with batches it would be one dimension less."""
    config = (await triton.get_model_config("half_plus_two")).config
    assert (config.name, config.platform) == ("half_plus_two", "tensorflow_savedmodel")
    assert config.max_batch_size == 0
    (x,), (y,) = config.input, config.output
    assert (x.name, x.data_type, list(x.dims)) == ("x", 11, [-1])
    assert (y.name, y.data_type, list(y.dims)) == ("y", 11, [-1])


@pytest.mark.parametrize("method", ["get_model_metadata", "get_model_config"])
@pytest.mark.parametrize(
    ("model", "named", "code"),
    [
        ("none", "", "NOT_FOUND"),
        ("half_plus_two", "9", "NOT_FOUND"),
        ("half_plus_two", "5", "UNAVAILABLE"),
        ("half_plus_two", "stabel", "INVALID_ARGUMENT"),
        ("half_plus_two", "0", "INVALID_ARGUMENT"),
    ],
)
async def test_model_that_is_not_there_is_refused_as_for_inference(
    triton: Client, method: str, model: str, named: str, code: str
) -> None:
    """There is nothing to tell of it."""
    assert (await error_of(getattr(triton, method)(model, named)))[0] == code


UNSERVED: dict[str, Callable[[Any], Any]] = {
    "statistics": lambda triton: triton.get_inference_statistics("half_plus_two"),
    "system memory": lambda triton: triton.register_system_shared_memory("r", "/r", 8),
    "regions": lambda triton: triton.get_system_shared_memory_status(),
    "device memory": lambda triton: triton.get_cuda_shared_memory_status(),
    "trace": lambda triton: triton.get_trace_settings(),
    "log": lambda triton: triton.get_log_settings(),
}


@pytest.mark.parametrize("call", UNSERVED.values(), ids=UNSERVED)
async def test_what_is_not_served_says_what_to_do(
    triton: Client, call: Callable[[Client], Any]
) -> None:
    """The words of gRPC itself would be "Method not found!"."""
    code, message = await error_of(call(triton))
    assert code == "UNIMPLEMENTED"
    assert " here" in message


async def test_method_that_nobody_knows_is_unimplemented(channel: aio.Channel) -> None:
    """A client learns that the method is missing, and not that its request is wrong."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/inference.GRPCInferenceService/Nonsense"
    )
    assert (await refusal(call(b""))).code().name == "UNIMPLEMENTED"


async def test_bytes_that_are_no_question_are_an_invalid_argument(channel: aio.Channel) -> None:
    """The name of the message that was expected is in the words."""
    call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelMetadata"
    )
    error = await refusal(call(b"\xff" * 9))
    assert error.code().name == "INVALID_ARGUMENT"
    assert error.details() == "the bytes of this request are not a ModelMetadataRequest"


async def test_answer_says_where_it_comes_from(channel: aio.Channel) -> None:
    """What is told of a version names the event that brought it."""
    call = stub(channel).ModelMetadata(messages.ModelMetadataRequest(name="half_plus_two"))
    await call
    assert "control-offset=103" in (await call.trailing_metadata())["headrace-provenance"]
