"""Whatever the bytes, what the node itself reads is read or refused in words, at a bounded cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.control.events import read_event
from headrace.consumer.core.calls import Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest, RequestError
from headrace.consumer.core.plan import Plan, fold
from headrace.consumer.formats import multi_inference
from headrace.consumer.formats.infer_head import read_infer_head, refused_in_stream
from headrace.consumer.formats.routes import read_infer_route, read_predict_route
from headrace.consumer.stream.content import content_of
from headrace.consumer.stream.requests import Requests
from headrace.protos.open_inference_pb2 import ModelInferRequest, ModelStreamInferResponse
from headrace.protos.routing_pb2 import TasksRequest
from headrace.protos.tensorflow_serving_pb2 import InferenceTask, SignatureDefMap
from headrace.publisher import batching_parameters
from headrace.publisher.errors import InvalidArgument
from headrace.schemas import codec
from headrace.schemas.claims import Claim
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
from tests.fuzz.bounds import bounded, counted
from tests.fuzz.conftest import FUZZ

BATCHING_TEXT = """max_batch_size { value: 128 } batch_timeout_micros { value: 0 }
allowed_batch_sizes: 32 allowed_batch_sizes: 128 pad_variable_length_inputs: true
num_batch_threads { value: 4 } thread_pool_name { value: "é" }"""


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    with counted():
        yield


def readable(read: Callable[[bytes], object], data: bytes, *refusals: type[Exception]) -> Any:
    """Return what `read` makes of the bytes; None when it refuses them, in words."""
    try:
        return bounded(lambda: read(data), len(data))
    except refusals as error:
        assert str(error).encode()
        return None


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
@given(st.one_of(tasks, hostile.damaged(tasks), st.binary(max_size=64)))
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
    version=hostile.int64s | st.just(1),
    uri=st.sampled_from(["file:///m", ""]),
    digest=st.just("sha256:0"),
    size_bytes=hostile.int64s,
    lifecycle=st.sampled_from(Lifecycle),
    signature=st.none() | st.binary(max_size=4),
)
int32s = st.integers(-(2**31), 2**31 - 1)
configs = st.builds(
    ModelConfig,
    model=st.sampled_from(["m", ""]),
    policy=st.builds(
        VersionPolicy,
        kind=st.sampled_from(PolicyKind),
        latest=int32s,
        versions=st.lists(hostile.int64s, max_size=3),
    ),
    labels=st.dictionaries(st.sampled_from(["a", ""]), hostile.int64s, max_size=2),
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
            st.none() | st.one_of(records, hostile.damaged(records), st.binary(max_size=64)),
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
        ) -> object:
            return read_event(offset, key, None if is_gone else data)

        event = readable(read, value or b"", WireError)
        if event is not None:
            plan = fold(plan, [event])
    for planned in plan.models.values():
        assert planned.wanted() <= planned.versions.keys()


class Record(NamedTuple):
    """What the Kafka door sees of a record."""

    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    key: bytes | None = None
    offset: int = 7
    timestamp: int = 0


CONTENT_TYPES = (
    *(b"application/json", b"application/x-protobuf;proto=inference.ModelInferRequest"),
    *(b'application/x-protobuf; proto="tensorflow.serving.PredictRequest"', b"avro/binary"),
    *(b"application/vnd.headrace.claim", b"application/x-protobuf", b"", b"\xff;=;=", b"a" * 600),
)
header_values = st.one_of(
    st.none(),
    st.binary(max_size=8),
    st.sampled_from([b"9" * 5000, b"1e5", b" 12 ", b"-1", b"\xd9\xa1", b"99999999999999999999"]),
    st.sampled_from(CONTENT_TYPES),
)
header_names = st.sampled_from(
    [
        *("correlation-id", "reply-topic", "deadline-ms", "affinity", "traceparent"),
        *("content-type", "model", "version", "label", "", "é"),
    ]
)
values = st.one_of(
    st.none(),
    predicts,
    infers,
    hostile.hostile(Encoding.AVRO),
    hostile.hostile(Encoding.TENSORFLOW_JSON),
)


@FUZZ
@given(
    st.lists(
        st.builds(
            Record, values, st.lists(st.tuples(header_names, header_values), max_size=5).map(tuple)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_request_record_has_a_route_or_a_fault(taken: list[Record]) -> None:
    """Each record of a partition is in one group, or refused with a code, or a claim."""
    messages: Any = taken
    requests = Requests(messages, default_deadline_seconds=1.0)
    groups = requests.groups()
    grouped = [index for members in groups.values() for index in members]
    assert sorted([*grouped, *requests.faults, *set(requests.claims) - requests.faults.keys()]) == (
        list(range(len(taken)))
    )
    for fault in requests.faults.values():
        assert fault.code in {Code.INVALID_ARGUMENT, Code.DEADLINE_EXCEEDED}
        assert fault.message.encode()
    for index in range(len(taken)):
        requests.is_addressable(index)
        content = requests.contents[index]
        assert content.encode_error(Code.INTERNAL, "é", "m", None).value is not None


@FUZZ
@given(st.binary(max_size=600) | st.sampled_from(CONTENT_TYPES))
def test_a_content_type_is_known_or_named(header: bytes) -> None:
    """Any content type is one that is served, or refused in words."""
    readable(content_of, header, WireError)


@FUZZ
@given(st.one_of(hostile.STRUCTURED[Encoding.TENSORFLOW_JSON], st.binary(max_size=64)))
def test_a_claim_is_one_or_not(data: bytes) -> None:
    """Any bytes are a claim or refused."""
    readable(Claim.decode, data, WireError)


parameters = st.one_of(
    hostile.damaged(st.just(BATCHING_TEXT.encode())),
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
        assert str(error)
    else:
        assert isinstance(found.batching, Batching)
