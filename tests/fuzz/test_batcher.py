"""Good requests among hostile ones: each is answered as if it had come alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.formats.batch import Batcher
from headrace.consumer.formats.tensor_proto import encode_tensor_proto
from headrace.consumer.workers import frames
from headrace.consumer.workers.process import formats_of
from headrace.protos.open_inference_pb2 import ModelInferRequest
from headrace.protos.routing_pb2 import ExamplesRequest
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest
from headrace.schemas import codec
from headrace.schemas.records import Batching, InferenceRequest, LargeRequests
from headrace.schemas.tensors import to_tensor
from tests.fuzz.bombs import BOMBS
from tests.fuzz.conftest import FUZZ
from tests.fuzz.everything import Everything
from tests.fuzz.hostile import hostile
from tests.fuzz.hostile_json import framed
from tests.unit.consumer.formats.calling import answers

Request = tuple[Encoding, bytes]
Matrix = npt.NDArray[np.float32]
Payload = Callable[[Matrix, int], bytes]

DOCUMENTED: Final = {
    # docs/errors.md, of what a worker answers to a request.
    Code.INVALID_ARGUMENT,
    Code.FAILED_PRECONDITION,
    Code.UNIMPLEMENTED,
    Code.INTERNAL,
}
RULES: Final = (
    Batching(),
    Batching(max_rows=4, allowed_rows=(2, 4), large_requests=LargeRequests.SPLIT),
    Batching(max_rows=8, pads_variable_length=True, large_requests=LargeRequests.REFUSE),
)


@st.composite
def good(draw: st.DrawFn) -> Request:
    """Return a request that must be answered, in any encoding."""
    rows = draw(st.integers(1, 3))
    columns = draw(st.integers(1, 3))
    start = draw(st.integers(0, 99))
    x = np.arange(start, start + rows * columns, dtype=np.float32).reshape(rows, columns)
    encoding = draw(st.sampled_from(list(Encoding)))
    return encoding, _PAYLOADS[encoding](x, start)


def _avro(x: Matrix, _start: int) -> bytes:
    return codec.encode(InferenceRequest(model="m", inputs=[to_tensor("x", x)]))


def _predict(x: Matrix, _start: int) -> bytes:
    message = PredictRequest()
    message.inputs["x"].ParseFromString(encode_tensor_proto("x", x))
    return message.SerializeToString()


def _infer(x: Matrix, start: int) -> bytes:
    message = ModelInferRequest(model_name="m", id=str(start), raw_input_contents=[x.tobytes()])
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    return message.SerializeToString()


def _infer_json(x: Matrix, start: int) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    return framed(json.dumps({"id": str(start), "inputs": [tensor]}).encode())


def _predict_json(x: Matrix, _start: int) -> bytes:
    return json.dumps({"instances": x.tolist()}).encode()


def _examples(signature: str) -> Payload:
    def payload(x: Matrix, start: int) -> bytes:
        message = ExamplesRequest(model_spec=ModelSpec(signature_name=signature))
        message.input.example_list.examples.extend([b"a" * start] * len(x))
        return message.SerializeToString()

    return payload


def _examples_json(signature: str) -> Payload:
    def payload(x: Matrix, start: int) -> bytes:
        examples = [{"f": "a" * start}] * len(x)
        return json.dumps({"signature_name": signature, "examples": examples}).encode()

    return payload


_PAYLOADS: Final[dict[Encoding, Payload]] = {
    Encoding.AVRO: _avro,
    Encoding.TENSORFLOW_SERVING: _predict,
    Encoding.OPEN_INFERENCE: _infer,
    Encoding.OPEN_INFERENCE_JSON: _infer_json,
    Encoding.TENSORFLOW_JSON: _predict_json,
    Encoding.CLASSIFICATION: _examples("classify"),
    Encoding.REGRESSION: _examples("regress"),
    Encoding.CLASSIFICATION_JSON: _examples_json("classify"),
    Encoding.REGRESSION_JSON: _examples_json("regress"),
}
bad = st.sampled_from(Encoding).flatmap(lambda each: st.tuples(st.just(each), hostile(each)))
bombs = st.sampled_from([bomb for bomb in BOMBS.values() if len(bomb[1]) < 1000])


def make_batcher(rules: Batching) -> Batcher:
    """Return what a worker answers with."""
    model = Everything()
    return Batcher(model, formats_of(model, "m", 1), rules)


def asked(requests: Sequence[Request], rules: Batching) -> list[bytes | Fault]:
    """Return the answers to a frame of requests, after it went to a worker as a frame."""
    calls = [Calls(encoding, [payload], [math.inf]) for encoding, payload in requests]
    return answers(make_batcher(rules), calls)


def check_documented(answer: bytes | Fault) -> None:
    """Hold an answer to what a worker may send."""
    if isinstance(answer, Fault):
        assert answer.code in DOCUMENTED, answer
        sent = frames.Ran(1, None, [b""], {0: answer})
    else:
        sent = frames.Ran(1, None, [answer], {})
    frame = frames.encode(sent)
    assert frames.decode_from_worker(frame[frames.LENGTH_BYTES :]) == sent


@pytest.mark.parametrize("rules", RULES, ids=["whole", "split", "padded"])
@FUZZ
@given(data=st.data())
def test_hostile_requests_change_no_other_answer(rules: Batching, data: st.DataObject) -> None:
    """Every good request is answered as alone, and every other has an answer or a known code."""
    marked = data.draw(
        st.lists(
            st.one_of(
                st.tuples(st.just(True), good()),
                st.tuples(st.just(False), bad),
                st.tuples(st.just(False), bombs),
            ),
            min_size=2,
            max_size=10,
        )
    )
    requests = [request for _, request in marked]
    found = asked(requests, rules)
    for (is_good, request), answer in zip(marked, found, strict=True):
        check_documented(answer)
        if is_good:
            assert isinstance(answer, bytes), answer
            assert [answer] == asked([request], rules)
