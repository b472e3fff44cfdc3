"""Classify and regress, in protobuf and in JSON: what is read, what is refused, what is written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest, UnreadableRequest
from headrace.consumer.formats.batch import Batcher
from headrace.consumer.formats.examples import Examples
from headrace.consumer.formats.examples_json import ExamplesJson
from headrace.consumer.formats.methods import Classify, Method, Regress
from headrace.consumer.formats.ordinary import Codec, Ordinary
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.platforms.platform import Array, Signature
from headrace.protos.tensorflow_pb2 import Example
from headrace.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    RegressionRequest,
    RegressionResponse,
)
from headrace.schemas.records import Batching
from tests.unit.consumer.formats.arithmetic import Arithmetic, signature
from tests.unit.consumer.formats.calling import FAR, answers, fault

Body: TypeAlias = Any

TAKES = {"inputs": (object, (None,))}
SIGNATURES = {
    each.name: each
    for each in (
        signature(
            "serving_default",
            TAKES,
            {"classes": (object, (None, None)), "scores": (np.float32, (None, None))},
        ),
        signature("regress", TAKES, {"outputs": (np.float32, (None,))}),
        signature("elsewhere", {"x": (object, (None,))}, {"outputs": (np.float32, (None,))}),
        signature("two", {**TAKES, "b": (object, (None,))}, {"outputs": (np.float32, (None,))}),
    )
}
CLASSIFY = Examples(Classify(), "m", 7, SIGNATURES)
REGRESS = Examples(Regress(), "m", 7, SIGNATURES)
CLASSIFY_JSON = ExamplesJson(Classify(), SIGNATURES)
REGRESS_JSON = ExamplesJson(Regress(), SIGNATURES)


def body(value: Body) -> bytes:
    """Return JSON."""
    return json.dumps(value).encode()


def read(codec: Codec, payload: bytes) -> InferRequest:
    """Return what a payload says; it must be valid."""
    found = codec.read(payload)
    assert isinstance(found, InferRequest), found
    return found


def refused(codec: Codec, payload: bytes) -> str:
    """Return why a payload is refused."""
    found = codec.read(payload)
    assert isinstance(found, InvalidRequest), found
    return str(found)


def fed(request: InferRequest) -> list[bytes]:
    """Return the serialised examples that go to the model."""
    assert request.inputs.keys() == {"inputs"}
    array = request.inputs["inputs"]
    assert array.dtype == object
    assert array.shape == (request.style,)
    strings: list[bytes] = array.tolist()
    return strings


def features(value: Body) -> dict[str, Body]:
    """Return the features of the one example of a JSON request, as protobuf's JSON."""
    [example] = fed(read(CLASSIFY_JSON, body({"examples": [value]})))
    return features_of(example)


def features_of(example: bytes) -> dict[str, Body]:
    """Return the features of a serialised example, as protobuf's JSON."""
    shown = json_format.MessageToDict(Example.FromString(example))
    found: dict[str, Body] = shown.get("features", {}).get("feature", {})
    return found


def labels(*rows: Sequence[bytes]) -> Array:
    """Return labels as a model gives them."""
    return np.array(rows, object)


def scores(*rows: Sequence[float]) -> Array:
    """Return scores as a model gives them."""
    return np.array(rows, np.float32)


def test_examples_stay_as_they_came() -> None:
    """Also those that are none: the model says so."""
    request = ClassificationRequest()
    example = Example()
    example.features.feature["x"].float_list.value.append(1)
    request.input.example_list.examples.append(example)
    payload = request.SerializeToString()
    garbage = payload.replace(example.SerializeToString(), b"\xff" * example.ByteSize())
    found = read(CLASSIFY, payload)
    assert (found.signature, found.output_filter) == ("serving_default", ("classes", "scores"))
    assert fed(found) == [example.SerializeToString()]
    assert fed(read(CLASSIFY, garbage)) == [b"\xff" * example.ByteSize()]


texts = st.text(st.characters(codec="utf-8"), max_size=8)
feature = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.booleans(), max_size=4),
    st.lists(st.floats(width=32), min_size=1, max_size=4),
    st.lists(texts, max_size=4),
)
examples = st.dictionaries(texts, feature, max_size=4)


def example_of(values: Mapping[str, Sequence[Any]]) -> Example:
    """Return an example with lists of values."""
    made = Example()
    for name, each in values.items():
        one = made.features.feature[name]
        if each and isinstance(each[0], str):
            one.bytes_list.value.extend(value.encode() for value in each)
        elif each and isinstance(each[0], float):
            one.float_list.value.extend(each)
        elif each:
            one.int64_list.value.extend(map(int, each))
    return made


@given(st.lists(examples, min_size=1, max_size=4), st.none() | examples)
def test_json_means_what_the_message_means(
    rows: list[dict[str, Any]], context: dict[str, Any] | None
) -> None:
    """Both formats feed the same features to the model, those of the context included."""
    request = RegressionRequest()
    request.model_spec.signature_name = "regress"
    document: dict[str, Any] = {"signature_name": "regress", "examples": rows}
    made = [example_of(row) for row in rows]
    if context is None:
        request.input.example_list.examples.extend(made)
    else:
        document["context"] = context
        request.input.example_list_with_context.context.CopyFrom(example_of(context))
        request.input.example_list_with_context.examples.extend(made)
    by_json = fed(read(REGRESS_JSON, body(document)))
    by_message = fed(read(REGRESS, request.SerializeToString()))
    assert [features_of(each) for each in by_json] == [features_of(each) for each in by_message]


@given(
    st.lists(st.lists(st.tuples(texts, st.floats(width=32)), min_size=2, max_size=2), min_size=1)
)
def test_classes_are_written_as_they_are(rows: list[list[tuple[str, float]]]) -> None:
    """Protobuf keeps every bit of a score, JSON its value; both keep the labels."""
    outputs = {
        "classes": labels(*[[label.encode() for label, _ in row] for row in rows]),
        "scores": scores(*[[score for _, score in row] for row in rows]),
    }
    message = ClassificationResponse.FromString(
        CLASSIFY.write("serving_default", outputs, len(rows))
    )
    assert (message.model_spec.name, message.model_spec.version.value) == ("m", 7)
    assert message.model_spec.signature_name == "serving_default"
    found = [[(c.label, c.score) for c in each.classes] for each in message.result.classifications]
    np.testing.assert_equal(found, rows)
    answer = json.loads(CLASSIFY_JSON.write("serving_default", outputs, len(rows)))
    shown = [[(label, np.float32(score)) for label, score in row] for row in answer["results"]]
    np.testing.assert_equal(shown, [[(label, np.float32(s)) for label, s in row] for row in rows])


@given(st.lists(st.floats(width=32), min_size=1, max_size=8), st.booleans())
def test_numbers_are_written_as_they_are(numbers: list[float], is_column: bool) -> None:
    """A vector and a column give the same list."""
    array = np.array(numbers, np.float32)
    outputs = {"outputs": array[:, None] if is_column else array}
    message = RegressionResponse.FromString(REGRESS.write("regress", outputs, len(numbers)))
    found = [each.value for each in message.result.regressions]
    np.testing.assert_equal(found, numbers)
    answer = json.loads(REGRESS_JSON.write("regress", outputs, len(numbers)))
    np.testing.assert_equal(np.array(answer["results"], np.float32), array)


def test_json_answers_have_the_form_of_tensorflow_serving() -> None:
    """Pairs of label and score, plain numbers, and bare tokens for what JSON has no number for."""
    outputs = {"scores": scores([0.5, 2.0], [math.inf, 0.1])}
    assert CLASSIFY_JSON.write("scores", outputs, 2) == (
        b'{"results":[[["",0.5],["",2.0]],[["",Infinity],["",0.1]]]}'.replace(b",", b", ").replace(
            b":", b": "
        )
    )
    values = np.array([1, 0.1], np.float32)
    assert REGRESS_JSON.write("regress", {"outputs": values}, 2) == b'{"results":[1.0,0.1]}'
    values[0] = math.nan
    assert REGRESS_JSON.write("regress", {"outputs": values}, 2) == b'{"results": [NaN, 0.1]}'


def test_json_says_the_kind_of_a_feature() -> None:
    """Whole numbers and booleans are int64, numbers with a point float, texts and b64 bytes."""
    found = features(
        {
            "whole": 3,
            "list": [1, True, False],
            "point": [1.0, 2.5],
            "text": ["é", {"b64": "/w=="}],
            "nothing": [],
            "huge": 1e39,
            "past": 2**64,
            "beyond": [10**400, -(10**400)],
        }
    )
    assert found == {
        "whole": {"int64List": {"value": ["3"]}},
        "list": {"int64List": {"value": ["1", "1", "0"]}},
        "point": {"floatList": {"value": [1.0, 2.5]}},
        "text": {"bytesList": {"value": ["w6k=", "/w=="]}},
        "nothing": {},
        "huge": {"floatList": {"value": ["Infinity"]}},
        "past": {"floatList": {"value": [1.8446744e19]}},
        "beyond": {"floatList": {"value": ["Infinity", "-Infinity"]}},
    }
    [example] = fed(read(CLASSIFY_JSON, b'{"examples": [{"x": [NaN, -Infinity]}]}'))
    assert features_of(example) == {"x": {"floatList": {"value": ["NaN", "-Infinity"]}}}


NO_REQUESTS: list[tuple[Body, str]] = [
    ({}, "'examples' must be a list"),
    ({"examples": []}, "'examples' must be a list"),
    ({"examples": {"x": 1}}, "'examples' must be a list"),
    ({"examples": [1]}, "example 0 must be an object"),
    ({"examples": [{"x": 1}, [1]]}, "example 1 must be an object"),
    ({"examples": [{}], "context": 3}, "'context' must be an object"),
    ({"examples": [{"x": None}]}, "example 0: feature 'x': has null"),
    ({"examples": [{"x": [[1]]}]}, "example 0: feature 'x': has a list in its list"),
    ({"examples": [{"x": {"y": 1}}]}, "example 0: feature 'x': has an object"),
    ({"examples": [{"x": [1, 2.0]}]}, "has float and int64 among its values"),
    ({"examples": [{"x": ["a", 1]}]}, "has bytes and int64 among its values"),
    ({"examples": [{"x": 2**63}]}, "only int64 is supported"),
    ({"examples": [{"x": {"b64": "?"}}]}, "not base64"),
    ({"examples": [{"x": "\ud800"}]}, "UTF-8"),
    ({"examples": [{"\ud800": 1}]}, "UTF-8"),
    ({"signature_name": 3, "examples": [{}]}, "'signature_name' must be a string"),
    ({"signature_name": "no", "examples": [{}]}, "No signature was found with the name: no"),
    ({"signature_name": "elsewhere", "examples": [{}]}, 'Expected one input Tensor, "inputs"'),
    ({"signature_name": "two", "examples": [{}]}, 'Expected one input Tensor, "inputs"'),
    ({"signature_name": "regress", "examples": [{}]}, "at least one of"),
]


@pytest.mark.parametrize(("document", "words"), NO_REQUESTS)
def test_json_that_is_no_request_is_refused_in_words(document: Body, words: str) -> None:
    """What is wrong, and where."""
    assert words in refused(CLASSIFY_JSON, body(document))


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"\xff", b'{"examples": ' + b"[" * 99_999])
def test_bytes_that_are_no_object_are_unreadable(payload: bytes) -> None:
    """They are no request at all."""
    assert isinstance(REGRESS_JSON.read(payload), UnreadableRequest)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    """Nothing else comes out of a codec."""
    for codec in (CLASSIFY, REGRESS, CLASSIFY_JSON, REGRESS_JSON):
        assert isinstance(codec.read(payload), InferRequest | InvalidRequest)


def test_label_that_is_no_text_is_told_apart() -> None:
    """A message cannot carry it; JSON carries it as bytes."""
    outputs = {"classes": labels([b"\xff"])}
    with pytest.raises(ValueError, match="output 'classes' is not UTF-8"):
        CLASSIFY.write("labels", outputs, 1)
    assert json.loads(CLASSIFY_JSON.write("labels", outputs, 1)) == {
        "results": [[[{"b64": "/w=="}, 0.0]]]
    }


MISFITS: list[tuple[Method, dict[str, Array], str]] = [
    (Classify(), {"scores": np.zeros(2, np.float32)}, "but got [2] of scores"),
    (Classify(), {"classes": np.full((2, 1, 1), b"", object)}, "but got [2, 1, 1] of classes"),
    (
        Classify(),
        {"scores": np.zeros((2, 1))},
        "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ),
    (Classify(), {"classes": scores([1], [2])}, "classes Tensor of DT_STRING. Got: DT_FLOAT"),
    (Classify(), {"scores": scores([1])}, "Expected scores output batch size of 2. Got: 1"),
    (
        Classify(),
        {"classes": labels([b"a"], [b"b"]), "scores": scores([1, 2], [3, 4])},
        "match in dim_size(1). Got 1 vs. 2",
    ),
    (Regress(), {"outputs": np.array(1, np.float32)}, "[batch_size, 1] but got []"),
    (Regress(), {"outputs": scores([1, 2], [3, 4])}, "[batch_size, 1] but got [2, 2]"),
    (Regress(), {"outputs": np.zeros(3, np.float32)}, "output batch size: 2 vs. 3"),
    (Regress(), {"outputs": np.zeros(2, object)}, "DT_FLOAT. Got: DT_STRING"),
]


@pytest.mark.parametrize(("method", "outputs", "words"), MISFITS)
def test_outputs_out_of_form_are_an_invalid_argument(
    method: Method, outputs: dict[str, Array], words: str
) -> None:
    """In both formats, with TensorFlow Serving's words."""
    for write in (Examples(method, "m", 7, {}).write, ExamplesJson(method, {}).write):
        with pytest.raises(InvalidRequest) as caught:
            write("s", outputs, 2)
        assert words in str(caught.value)


class Judge(Arithmetic):
    """Scores the length of each serialised example; promises a row for each, and may drop one."""

    def __init__(self, *, drops: bool = False) -> None:
        super().__init__()
        self.signatures: Mapping[str, Signature] = {
            "serving_default": signature(
                "serving_default", TAKES, {"scores": (np.float32, (None, 1))}
            )
        }
        self._drops = drops

    def run(
        self,
        signature: str,  # noqa: ARG002 - there is one
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_seconds: float | None,  # noqa: ARG002 - the protocol's parameter
    ) -> dict[str, Array]:
        """Compute the outputs."""
        assert list(outputs) == ["scores"]
        rows = inputs["inputs"]
        self.runs.append(len(rows))
        found = np.array([[len(each)] for each in rows], np.float32)
        return {"scores": found[1:] if self._drops else found}


def test_calls_in_both_formats_share_a_run() -> None:
    """Whatever they are written in, with as many examples as they bring."""
    model = Judge()
    both = Batcher(
        model,
        {
            Encoding.CLASSIFICATION: Ordinary(Examples(Classify(), "m", 7, model.signatures)),
            Encoding.CLASSIFICATION_JSON: Ordinary(ExamplesJson(Classify(), model.signatures)),
        },
        Batching(),
    )
    message = ClassificationRequest()
    message.input.example_list.examples.extend([Example(), Example()])
    document = body({"examples": [{"x": 1}]})
    first, second = answers(
        both,
        [
            Calls(Encoding.CLASSIFICATION, [message.SerializeToString()], [FAR]),
            Calls(Encoding.CLASSIFICATION_JSON, [document], [FAR]),
        ],
    )
    assert model.runs == [3]
    assert isinstance(first, bytes)
    assert len(ClassificationResponse.FromString(first).result.classifications) == 2
    assert isinstance(second, bytes)
    size = float(len(fed(read(CLASSIFY_JSON, document))[0]))
    assert json.loads(second) == {"results": [[["", size]]]}


def test_answer_that_cannot_be_keeps_its_code() -> None:
    """What a codec refuses to write is the caller's to know, by the code that it has."""
    model = Judge(drops=True)
    batcher = Batcher(
        model,
        {Encoding.CLASSIFICATION: Ordinary(Examples(Classify(), "m", 7, model.signatures))},
        Batching(),
    )
    message = ClassificationRequest()
    message.input.example_list.examples.extend([Example(), Example()])
    calls = Calls(Encoding.CLASSIFICATION, [message.SerializeToString()] * 2, [FAR] * 2)
    for answer in answers(batcher, [calls]):
        assert fault(answer) == Fault(
            Code.INVALID_ARGUMENT, "Expected scores output batch size of 2. Got: 1"
        )
