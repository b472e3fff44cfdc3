"""Our codecs of classify and regress beside TensorFlow Serving's own messages."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.formats.examples import Examples
from headrace.consumer.formats.methods import Classify, Method, Regress
from headrace.consumer.formats.request import InferRequest
from tests.integration.consumer.rpc.official import (
    ClassificationRequest,
    ClassificationResponse,
    Example,
    Input,
    ModelSpec,
    RegressionRequest,
    RegressionResponse,
)
from tests.unit.consumer.formats.arithmetic import signature

TAKES = {"inputs": (object, (None,))}
SIGNATURES = {
    "c": signature("c", TAKES, {"scores": (np.float32, (None, None))}),
    "r": signature("r", TAKES, {"outputs": (np.float32, (None,))}),
}
numbers = st.floats(width=32, allow_nan=False)
texts = st.text(st.characters(codec="utf-8"), max_size=5)


def example_of(features: dict[str, list[float]]) -> bytes:
    """Return one of TensorFlow's examples, encoded."""
    made = Example()
    for name, values in features.items():
        made.features.feature[name].float_list.value.extend(values)
    return made.SerializeToString()


examples = st.dictionaries(texts, st.lists(numbers, max_size=3), max_size=3).map(example_of)


def codec(method: Method) -> Examples:
    """Return our codec of a method."""
    return Examples(method, "m", 7, SIGNATURES)


@given(st.lists(examples, min_size=1, max_size=4), st.none() | examples)
def test_model_gets_what_the_official_message_holds(
    encoded: list[bytes], context: bytes | None
) -> None:
    """An example is the context merged with it, as protobuf merges messages."""
    made = Input()
    listed = made.example_list if context is None else made.example_list_with_context
    listed.examples.extend(Example.FromString(each) for each in encoded)
    if context is not None:
        made.example_list_with_context.context.ParseFromString(context)
    spec = ModelSpec(name="m", signature_name="r")
    for method, payload in (
        (Regress(), RegressionRequest(model_spec=spec, input=made).SerializeToString()),
        (
            Classify(),
            ClassificationRequest(
                model_spec=ModelSpec(name="m", signature_name="c"), input=made
            ).SerializeToString(),
        ),
    ):
        found = codec(method).read(payload)
        assert isinstance(found, InferRequest), found
        for fed, own in zip(found.inputs["inputs"].tolist(), listed.examples, strict=True):
            merged = Example.FromString(context or b"")
            merged.MergeFrom(own)
            assert Example.FromString(fed) == merged


@given(st.lists(st.lists(st.tuples(texts, numbers), min_size=2, max_size=2), min_size=1))
def test_official_message_reads_our_classes(rows: list[list[tuple[str, float]]]) -> None:
    """Labels, scores and the resolved model spec."""
    expected = ClassificationResponse(
        model_spec=ModelSpec(name="m", version={"value": 7}, signature_name="c")
    )
    for row in rows:
        classes = expected.result.classifications.add().classes
        for label, score in row:
            classes.add(label=label, score=score)
    outputs = {
        "classes": np.array([[label.encode() for label, _ in row] for row in rows], object),
        "scores": np.array([[score for _, score in row] for row in rows], np.float32),
    }
    payload = codec(Classify()).write("c", outputs, len(rows))
    assert ClassificationResponse.FromString(payload) == expected


@given(st.lists(numbers, min_size=1))
def test_official_message_reads_our_numbers(values: list[float]) -> None:
    """Numbers and the resolved model spec."""
    expected = RegressionResponse(
        model_spec=ModelSpec(name="m", version={"value": 7}, signature_name="r")
    )
    for value in values:
        expected.result.regressions.add(value=value)
    outputs = {"outputs": np.array(values, np.float32)}
    payload = codec(Regress()).write("r", outputs, len(values))
    assert RegressionResponse.FromString(payload) == expected
