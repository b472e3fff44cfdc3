"""facts/tfserving.md 3.2, Predict: what it takes, and its table of failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from headrace.protos import tensorflow_pb2
from tests.conformance.tensorflow_serving import (
    STYLES,
    Client,
    Refusal,
    array,
    example,
    outputs_of,
    serialised,
    spec,
    tensor,
)

each_style = pytest.mark.parametrize("style", STYLES)


@each_style
def test_serves_models_of_both_styles(client: Client, style: str) -> None:
    """TensorFlow Serving's hello world, with variables."""
    response = client.predict(spec(f"half_plus_two_{style}"), {"x": [[1.0], [2.0], [5.0]]})
    assert outputs_of(response) == {"y": [[2.5], [3.0], [4.5]]}


@each_style
@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ((), {"sum": [11.0, 22.0], "product": [10.0, 40.0]}),
        (("sum",), {"sum": [11.0, 22.0]}),
        (("product", "sum"), {"sum": [11.0, 22.0], "product": [10.0, 40.0]}),
    ],
)
def test_output_filter_says_which_outputs(
    client: Client, style: str, wanted: tuple[str, ...], given: Mapping[str, Any]
) -> None:
    """'output_filter[] (empty = all outputs)'."""
    inputs = {"a": [1.0, 2.0], "b": [10.0, 20.0]}
    response = client.predict(spec(f"sampler_{style}", "pair"), inputs, *wanted)
    assert outputs_of(response) == given


@pytest.mark.parametrize(
    ("model", "signature", "given"),
    [
        ("judge_tf1", "", {"classes": [[b"-low", b"-high"]], "scores": [[0.75, 0.25]]}),
        ("judge_tf2", "", {"classes": [[b"-low", b"-high"]], "scores": [[0.75, 0.25]]}),
        ("judge_tf1", "regress", {"outputs": [0.25]}),
        ("judge_tf2", "regress", {"outputs": [0.25]}),
        ("zoo", "regress_x_to_y", {"outputs": [[2.125]]}),
        ("zoo", "classify_x_to_y", {"scores": [[2.125]]}),
    ],
)
def test_works_with_classify_and_regress_signatures(
    client: Client, model: str, signature: str, given: Mapping[str, Any]
) -> None:
    """'Works with predict, classify and regress signatures.' Also by method name, in TF1."""
    response = client.predict(spec(model, signature), {"inputs": serialised(example(x=0.25))})
    assert outputs_of(response) == given


@each_style
def test_input_with_a_default_may_be_left_out(client: Client, style: str) -> None:
    """'fewer and the signature has no defaults' is an error; with one it is none."""
    asked = spec(f"sampler_{style}", "defaulted")
    assert outputs_of(client.predict(asked, {"x": [1.0, 2.0]})) == {"y": [11.0, 12.0]}
    given = client.predict(asked, {"x": [1.0, 2.0], "plus": np.float32(0.5)})
    assert outputs_of(given) == {"y": [1.5, 2.5]}


@each_style
def test_output_may_be_a_scalar(client: Client, style: str) -> None:
    """A tensor without dimensions is one without `dim`."""
    response = client.predict(spec(f"sampler_{style}", "total"), {"x": [1.0, 2.0]})
    assert outputs_of(response) == {"total": 3.0}
    assert not response.outputs["total"].tensor_shape.dim


class Row(NamedTuple):
    """A row of the table: what is asked, and how it is refused."""

    inputs: Mapping[str, Any]
    words: tuple[str, ...]
    signature: str = "pair"
    outputs: tuple[str, ...] = ()
    code: str = "INVALID_ARGUMENT"


TWO = [1.0, 2.0]
UNDECODABLE, NO_DTYPE, NEGATIVE = tensor([0.0]), tensor([0.0]), tensor([0.0])
UNDECODABLE.tensor_content = b"123"
NO_DTYPE.dtype = tensorflow_pb2.DT_INVALID
NEGATIVE.tensor_shape.dim[0].size = -1
ROWS = {
    "unknown signature -> FAILED_PRECONDITION serving signature key ... not found": Row(
        {"a": TWO, "b": TWO},
        ('"nope" not found in signature def', "serving_default"),
        signature="nope",
        code="FAILED_PRECONDITION",
    ),
    "more inputs than the signature -> INVALID_ARGUMENT, lists 'Sent extra'": Row(
        {"a": TWO, "b": TWO, "c": TWO},
        ("input size does not match signature", "unexpected: c"),
    ),
    "fewer and the signature has no defaults -> INVALID_ARGUMENT, 'Missing but required'": Row(
        {"a": TWO},
        ("input size does not match signature", "missing: b"),
    ),
    "no inputs at all": Row({}, ("missing: a, b",)),
    "right count, wrong alias -> INVALID_ARGUMENT alias not found": Row(
        {"a": TWO, "c": TWO}, ("unexpected: c", "missing: b")
    ),
    "missing without default, beside one with default": Row(
        {"plus": np.float32(1)}, ("missing: x",), signature="defaulted"
    ),
    "more inputs than the signature, which has defaults": Row(
        {"x": TWO, "more": TWO}, ("unexpected: more",), signature="defaulted"
    ),
    "undecodable tensor -> INVALID_ARGUMENT tensor parsing error: alias": Row(
        {"a": UNDECODABLE, "b": TWO}, ("tensor parsing error: a",)
    ),
    "undecodable tensor: no dtype": Row({"a": NO_DTYPE, "b": TWO}, ("tensor parsing error: a",)),
    "undecodable tensor: negative dimension": Row(
        {"a": NEGATIVE, "b": TWO}, ("tensor parsing error: a",)
    ),
    "wrong dtype -> INVALID_ARGUMENT expects ... float but string is provided": Row(
        {"a": ["x", "y"], "b": TWO}, ("a", "expects float", "but string is provided")
    ),
    "wrong dtype: double for float": Row(
        {"a": np.array(TWO), "b": TWO}, ("a", "expects float", "but float64 is provided")
    ),
    "wrong dtype: int32 for float": Row(
        {"a": [1, 2], "b": TWO}, ("a", "expects float", "but int32 is provided")
    ),
    "output_filter unknown -> INVALID_ARGUMENT alias not found in signature (lists valid)": Row(
        {"a": TWO, "b": TWO},
        ("output tensor alias not found in signature: nope", "product", "sum"),
        outputs=("sum", "nope"),
    ),
    "output_filter duplicate -> INVALID_ARGUMENT duplicate output alias": Row(
        {"a": TWO, "b": TWO}, ("duplicate output tensor alias: sum",), outputs=("sum", "sum")
    ),
}


@each_style
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row_of_the_table_of_failures(client: Client, style: str, row: Row) -> None:
    """3.2, Predict, by code and gist."""
    with pytest.raises(Refusal) as refused:
        client.predict(spec(f"sampler_{style}", row.signature), row.inputs, *row.outputs)
    assert refused.value.code == row.code
    for words in row.words:
        assert words in refused.value.message


@each_style
@pytest.mark.parametrize(
    ("value", "given"),
    [
        ([[1.0], [5.0]], [[2.5], [4.5]]),
        ([1.0, 5.0], [2.5, 4.5]),
        (1.0, 2.5),
        ([[[1.0, 5.0]]], [[[2.5, 4.5]]]),
        (np.zeros((0, 1), np.float32), []),
    ],
    ids=str,
)
def test_shape_is_not_checked_against_the_signature(
    client: Client, style: str, value: npt.ArrayLike, given: object
) -> None:
    """'wrong shape: not checked against the signature; the graph decides (half_plus_two takes any
    rank although it declares [-1,1])'.
    """
    asked = spec(f"half_plus_two_{style}")
    assert outputs_of(client.predict(asked, {"x": value})) == {"y": given}


def test_error_of_the_graph_is_the_answer(client: Client) -> None:
    """Not a row: TensorFlow's own code and words, here INVALID_ARGUMENT of an assertion."""
    with pytest.raises(Refusal) as refused:
        client.predict(spec("picky"), {"x": [100.0]})
    assert refused.value.code == "INVALID_ARGUMENT"
    assert "x is too large" in refused.value.message


@each_style
def test_bad_request_does_not_fail_the_next(client: Client, style: str) -> None:
    """The worker is as it was."""
    asked = spec(f"sampler_{style}", "pair")
    with pytest.raises(Refusal):
        client.predict(asked, {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]})
    assert outputs_of(client.predict(asked, {"a": TWO, "b": TWO}, "sum")) == {"sum": [2.0, 4.0]}


@each_style
def test_inputs_that_disagree_in_dimension_0_are_the_graphs_affair(
    client: Client, style: str
) -> None:
    """3.1: 'inputs disagree in dim 0, or scalar input, with batching → INVALID_ARGUMENT'.

    Differs from TensorFlow Serving: batching is always on here, and such a request runs by itself.
    """
    asked = spec(f"sampler_{style}", "pair")
    inputs = {"a": [1.0], "b": [10.0, 20.0]}
    assert outputs_of(client.predict(asked, inputs, "sum")) == {"sum": [11.0, 21.0]}
    scalar = {"a": np.float32(1), "b": np.float32(10)}
    assert outputs_of(client.predict(asked, scalar, "sum")) == {"sum": 11.0}


@each_style
def test_answer_has_typed_fields(client: Client, style: str) -> None:
    """2.1, enable_serialization_as_tensor_content false: 'typed repeated fields'."""
    y = client.predict(spec(f"sampler_{style}"), {"x": [[1.0]]}).outputs["y"]
    assert (list(y.float_val), y.tensor_content) == ([2.5], b"")
    assert array(y).tolist() == [[2.5]]
    assert tensor([[2.5]]) == y
