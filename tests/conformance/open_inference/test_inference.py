"""ModelInfer: routing, ids, versions, requested outputs, parameters, on every platform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conformance.open_inference.clients import (
    AnyTriton,
    X,
    Y,
    floats,
    half,
    message,
    refusal,
    with_raw,
    with_typed,
)
from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO
from tests.integration.consumer.rpc.triton import RequestedOutput, inputs_of


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_model_infer(triton: AnyTriton, name: str) -> None:
    """ModelInfer answers with every output: outputs empty = all."""
    answer = triton.ask("infer", name, floats())
    np.testing.assert_array_equal(answer.as_numpy("y"), Y)
    assert [output.name for output in answer.get_response().outputs] == ["y"]


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_response_says_who_answered(triton: AnyTriton, name: str) -> None:
    """1 model_name; if version was empty, fill the version actually used."""
    response = triton.ask("infer", name, floats()).get_response()
    assert (response.model_name, response.model_version) == (name, "1")


@pytest.mark.parametrize(
    ("asked", "used"), [("", "3"), ("1", "1"), ("2", "2"), ("3", "3"), ("stable", "2")]
)
def test_model_version(triton: AnyTriton, asked: str, used: str) -> None:
    """2 model_version string: empty = server policy, and the answer has the version used."""
    response = triton.ask("infer", "many", floats(), model_version=asked).get_response()
    assert response.model_version == used


@pytest.mark.parametrize("request_id", ["", "r-1", "ü 水", "x" * 4000])
@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_id_is_echoed(triton: AnyTriton, name: str, request_id: str) -> None:
    """`id` is echoed."""
    answer = triton.ask("infer", name, floats(), request_id=request_id)
    assert answer.get_response().id == request_id
    np.testing.assert_array_equal(answer.as_numpy("y"), Y)


PAIR = {"sum": 7.0, "product": 10.0}


@pytest.mark.parametrize(
    "wanted", [["sum"], ["product"], ["sum", "product"], ["product", "sum"]], ids="+".join
)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_requested_outputs(triton: AnyTriton, name: str, wanted: list[str]) -> None:
    """Response order follows request, and nothing else comes."""
    a, b = np.full((1, 3), 2, np.float32), np.full((1, 3), 5, np.float32)
    answer = triton.ask(
        "infer",
        name,
        inputs_of(a=a, b=b),
        outputs=[RequestedOutput(each) for each in wanted],
        parameters={"headrace_signature": "pair"},
    )
    assert [output.name for output in answer.get_response().outputs] == wanted
    for each in wanted:
        assert answer.as_numpy(each).tolist() == [[PAIR[each]] * 3]


@pytest.mark.parametrize("wanted", [["sum", "product"], ["product", "sum"]], ids="+".join)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_requested_outputs_of_a_typed_request(stub: Any, name: str, wanted: list[str]) -> None:  # noqa: ANN401 - untyped
    """Response order follows request, typed too; inputs come in any order."""
    request = message(name, signature="pair")
    with_typed(request, "b", "FP32", [1, 2], fp32_contents=[5, 5])
    with_typed(request, "a", "FP32", [1, 2], fp32_contents=[2, 2])
    for each in wanted:
        request.outputs.add(name=each)
    answer = stub.ModelInfer(request, timeout=30)
    assert [output.name for output in answer.outputs] == wanted
    for output in answer.outputs:
        assert list(output.contents.fp32_contents) == [PAIR[output.name]] * 2


@pytest.mark.parametrize("name", EVERY_KIND)
def test_requested_outputs_empty_means_all(triton: AnyTriton, name: str) -> None:
    """Requested outputs: empty = all."""
    x = np.ones((1, 3), np.float32)
    answer = triton.ask(
        "infer", name, inputs_of(a=x, b=x), parameters={"headrace_signature": "pair"}
    )
    assert {output.name for output in answer.get_response().outputs} == set(PAIR)


RESERVED: dict[str, dict[str, Any]] = {
    "sequence_id": {"int64_param": 7},
    "sequence_id as text": {"string_param": "seven"},
    "sequence_start": {"bool_param": True},
    "sequence_end": {"bool_param": True},
    "priority": {"uint64_param": 1},
    "timeout": {"int64_param": 20_000_000},
    "headers": {"string_param": "{}"},
    "binary_data_output": {"bool_param": True},
    "triton_enable_empty_final_response": {"bool_param": True},
    "triton_anything": {"double_param": 0.5},
    "my_own": {"string_param": "of another server"},
}


@pytest.mark.parametrize("parameter", RESERVED)
@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_reserved_request_parameter_is_taken(stub: Any, name: str, parameter: str) -> None:  # noqa: ANN401 - untyped
    """Reserved request parameters (Triton): a client may send them; oneof 1 to 5."""
    value = RESERVED[parameter]
    answer = stub.ModelInfer(
        half(name, parameters={parameter.partition(" ")[0]: value}), timeout=30
    )
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [2.5, 3.0, 4.5]


def test_parameters_as_tritons_client_sends_them(triton: AnyTriton) -> None:
    """sequence_id, sequence_start, sequence_end, priority, timeout."""
    answer = triton.ask(
        "infer",
        "tf2",
        floats(),
        sequence_id=7,
        sequence_start=True,
        sequence_end=True,
        priority=1,
        timeout=20_000_000,
        parameters={"my_own": 1},
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), Y)


@pytest.mark.parametrize("parameter", ["binary_data", "binary_data_size"])
@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_parameter_of_a_tensor_is_taken(stub: Any, name: str, parameter: str) -> None:  # noqa: ANN401 - untyped
    """Tensor level also uses binary_data, binary_data_size: of REST, they mean nothing here."""
    request = half(name)
    request.inputs[0].parameters[parameter].int64_param = 12
    request.outputs.add(name="y").parameters[parameter].bool_param = True
    assert len(stub.ModelInfer(request, timeout=30).raw_output_contents) == 1


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_classification_and_shared_memory_are_refused(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Tensor level also uses classification, shared_memory_*: they would mean another answer."""
    classified = half(name)
    classified.outputs.add(name="y").parameters["classification"].int64_param = 2
    there = half(name)
    there.outputs.add(name="y").parameters["shared_memory_region"].string_param = "r"
    shared = message(name)
    tensor = shared.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    tensor.parameters["shared_memory_region"].string_param = "r"
    for request in (classified, there, shared):
        code, words = refusal(stub.ModelInfer, request, timeout=30)
        assert code == "INVALID_ARGUMENT"
        assert "not served here" in words


@pytest.mark.parametrize("name", EVERY_KIND)
def test_own_parameters_have_one_prefix(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Put ours under one own prefix: headrace_signature; a mistyped one is refused."""
    request = with_raw(message(name, signature="int8"), "x", "INT8", [1, 1], b"\x07")
    assert stub.ModelInfer(request, timeout=30).outputs[0].datatype == "INT8"
    request.parameters["headrace_sinature"].string_param = "int8"
    assert refusal(stub.ModelInfer, request, timeout=30)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_many_at_once_get_their_own_answers(stub: Any, name: str) -> None:  # noqa: ANN401 - untyped
    """Every answer has its request's id and rows, whatever is run together."""
    asked = [
        (number, stub.ModelInfer.future(half(name, *[number] * (number % 3 + 1), id=str(number))))
        for number in range(100)
    ]
    for number, call in asked:
        answer = call.result(timeout=30)
        values = np.frombuffer(answer.raw_output_contents[0], np.float32).tolist()
        assert (answer.id, values) == (str(number), [number / 2 + 2] * (number % 3 + 1))


@pytest.mark.parametrize("name", HALF_PLUS_TWO)
def test_no_rows(triton: AnyTriton, name: str) -> None:
    """A tensor without elements has zero bytes: product(shape) × size."""
    answer = triton.ask("infer", name, inputs_of(x=np.zeros((0, 1), np.float32)))
    assert answer.as_numpy("y").shape == (0, 1)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_request(triton: AnyTriton, compression: str) -> None:
    """Triton's client has compression_algorithm."""
    answer = triton.ask("infer", "tf2", inputs_of(x=X), compression_algorithm=compression)
    np.testing.assert_array_equal(answer.as_numpy("y"), Y)
