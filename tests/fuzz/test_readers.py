"""Whatever the bytes, what the node itself reads is read or refused in words, at a bounded cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.consumer.control.events import read_event
from headrace.consumer.core.calls import Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest, RequestError
from headrace.consumer.core.plan import ControlEvent, Plan, fold
from headrace.consumer.formats import multi_inference
from headrace.consumer.formats.infer_head import read_infer_head, refused_in_stream
from headrace.consumer.formats.routes import read_infer_route, read_predict_route
from headrace.protos.open_inference_pb2 import ModelInferRequest, ModelStreamInferResponse
from headrace.protos.routing_pb2 import TasksRequest
from headrace.protos.tensorflow_serving_pb2 import InferenceTask, SignatureDefMap
from headrace.publisher import batching_parameters
from headrace.publisher.errors import InvalidArgument
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import (
    Batching,
    LargeRequests,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    PolicyKind,
    Route,
    VersionPolicy,
)
from tests.fuzz import hostile
from tests.fuzz.bounds import check_words, counted, readable
from tests.fuzz.conftest import FUZZ
from tests.fuzz.damage import damaged
from tests.fuzz.values import int64s

T = TypeVar("T")

BATCHING_TEXT = """max_batch_size { value: 128 } batch_timeout_micros { value: 0 }
allowed_batch_sizes: 32 allowed_batch_sizes: 128 pad_variable_length_inputs: true
num_batch_threads { value: 4 } thread_pool_name { value: "é" }"""


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    with counted():
        yield


predicts = hostile.hostile(Encoding.TENSORFLOW_SERVING)
infers = hostile.hostile(Encoding.OPEN_INFERENCE)
tasks = hostile.encoded(
    st.builds(
        TasksRequest,
        tasks=st.lists(
            st.builds(
                InferenceTask,
                model_spec=hostile.specs(),
                method_name=st.sampled_from(
                    ["tensorflow/serving/classify", "tensorflow/serving/regress", "", "é"]
                ),
            ),
            max_size=3,
        ),
        input=st.none() | st.binary(max_size=16),
    )
)
SIGNATURE_DEF = SignatureDefMap(
    signature_def={name: {} for name in ("classify", "regress", "serving_default")}  # type: ignore[misc]
).SerializeToString()


@FUZZ
@given(predicts)
def test_a_predict_has_a_route_or_none(request: bytes) -> None:
    """The route of a PredictRequest is read from any bytes."""
    route = readable(read_predict_route, request, InvalidRequest)
    assert route is None or (isinstance(route, Route) and route.model)


@FUZZ
@given(infers)
@example(ModelInferRequest(model_name="m", id="cut off").SerializeToString()[:-1])
def test_an_infer_has_a_head_or_none(request: bytes) -> None:
    """The head of a ModelInferRequest is read from any bytes; what is left is the same request."""
    readable(read_infer_route, request, InvalidRequest)
    head = readable(read_infer_head, request, InvalidRequest)
    if head is not None and head.id:
        whole = ModelInferRequest.FromString(head.id)
        assert ModelInferRequest(id=whole.id) == whole
        assert len(head.id) + len(head.payload) == len(request)
    told = refused_in_stream(request, Fault(Code.INTERNAL, "why"))
    assert ModelStreamInferResponse.FromString(told).error_message == "why"


@FUZZ
@given(st.one_of(tasks, damaged(tasks), st.binary(max_size=64)))
def test_a_multi_inference_is_split_or_refused(request: bytes) -> None:
    """A MultiInferenceRequest becomes as many requests as it has tasks."""

    def taken(data: bytes) -> tuple[TasksRequest, list[multi_inference.Task]]:
        message = multi_inference.read_tasks(data)
        assert multi_inference.first_route(message).model
        return message, multi_inference.split(message, SIGNATURE_DEF)

    found = readable(taken, request, RequestError)
    assert found is None or len(found[0].tasks) == len(found[1])


keys = st.sampled_from(
    [b"version/m/1", b"model/m", b"version/m/x", b"model/", b"", b"\xff", b"version/" + b"m" * 300]
)
versions = st.builds(
    ModelVersion,
    model=st.sampled_from(["m", "", "é", "m" * 200]),
    version=int64s | st.just(1),
    uri=st.sampled_from(["file:///m", ""]),
    digest=st.just("sha256:0"),
    size_bytes=int64s,
    lifecycle=st.sampled_from(Lifecycle),
)
int32s = st.integers(-(2**31), 2**31 - 1)
configs = st.builds(
    ModelConfig,
    model=st.sampled_from(["m", ""]),
    policy=st.builds(
        VersionPolicy,
        kind=st.sampled_from(PolicyKind),
        latest=int32s,
        versions=st.lists(int64s, max_size=3),
    ),
    labels=st.dictionaries(st.sampled_from(["a", ""]), int64s, max_size=2),
    split=st.dictionaries(st.sampled_from(["a", "1", ""]), int32s, max_size=2),
    batching=st.builds(
        Batching,
        max_rows=int32s,
        timeout_micros=int32s,
        allowed_rows=st.lists(int32s, max_size=3).map(tuple),
        large_requests=st.sampled_from(LargeRequests),
    ),
    replicas=int32s,
)
records = st.one_of(versions, configs).map(codec.encode)


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.none() | keys,
            st.none() | st.one_of(records, damaged(records), st.binary(max_size=64)),
        ),
        max_size=5,
    )
)
def test_a_control_record_is_folded_or_skipped(
    log: list[tuple[bytes | None, bytes | None]],
) -> None:
    """Any records of the control topic leave a plan from which the wanted versions follow."""
    plan = Plan()
    for offset, (key, value) in enumerate(log):

        def read(
            data: bytes,
            key: bytes | None = key,
            offset: int = offset,
            *,
            is_gone: bool = value is None,
        ) -> ControlEvent:
            return read_event(offset, key, None if is_gone else data)

        event = readable(read, value or b"", WireError)
        if event is not None:
            plan = fold(plan, [event])
    for planned in plan.models.values():
        assert planned.wanted() <= planned.versions.keys()


parameters = st.one_of(
    damaged(st.just(BATCHING_TEXT.encode())),
    st.binary(max_size=64),
    st.text(max_size=64).map(lambda text: text.encode(errors="replace")),
    st.sampled_from([b"max_batch_size { value: " + b"9" * 5000 + b" }", b"{" * 5000, b"a{" * 5000]),
)


@FUZZ
@given(data=parameters)
def test_batching_parameters_are_read_or_refused(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any file is parameters of TensorFlow Serving's, or refused in words."""
    path: Path = tmp_path_factory.getbasetemp() / "batching"
    path.write_bytes(data)
    try:
        found = batching_parameters.read(path)
    except InvalidArgument as error:
        check_words(error)
    else:
        assert isinstance(found.batching, Batching)
