"""facts/tfserving.md 3.2, MultiInference and GetModelMetadata; 3.4, SessionService."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest
from tensorflow_serving.apis import session_service_pb2  # type: ignore[import-untyped]

from headrace.protos import tensorflow_pb2
from headrace.protos import tensorflow_serving_pb2 as ours
from tests.conformance.tensorflow_serving import (
    CLASSIFY,
    REGRESS,
    STYLES,
    TIMEOUT_SECONDS,
    Client,
    Refusal,
    classes,
    example,
    listed,
    spec,
    values,
    with_context,
)
from tests.integration.consumer.rpc.official import SignatureDefMap

each_style = pytest.mark.parametrize("style", STYLES)
Task = tuple[ours.ModelSpec, str]


@each_style
def test_tasks_share_one_input_and_are_answered_in_order(client: Client, style: str) -> None:
    """'tasks[] {model_spec, method_name}, one shared Input … Results in task order'."""
    model = f"judge_{style}"
    response = client.multi(
        listed(0.25, 0.5),
        (spec(model, "regress"), REGRESS),
        (spec(model), CLASSIFY),
        (spec(model, "scores"), CLASSIFY),
    )
    numbers, both, scored = response.results
    assert values(numbers.regression_result) == [0.25, 0.5]
    assert classes(both.classification_result)[0] == [("-low", 0.75), ("-high", 0.25)]
    assert classes(scored.classification_result)[1] == [("", 0.5), ("", 0.5)]
    assert [each.model_spec.signature_name for each in response.results] == [
        "regress",
        "serving_default",
        "scores",
    ]


def test_serves_the_model_of_upstreams_own_test(client: Client) -> None:
    """TF1, with the method names in the signatures, and with a context."""
    response = client.multi(
        with_context(example(x=2.0), example()),
        (spec("zoo", "regress_x_to_y"), REGRESS),
        (spec("zoo", "classify_x_to_y"), CLASSIFY),
    )
    numbers, scored = response.results
    assert values(numbers.regression_result) == [3.0]
    assert classes(scored.classification_result) == [[("", 3.0)]]


@each_style
@pytest.mark.parametrize(
    "choice", [{"version": {"value": 3}}, {"version_label": "stable"}], ids=str
)
def test_version_is_that_of_the_first_task(
    client: Client, style: str, choice: dict[str, Any]
) -> None:
    """'The version is taken from the *first* task only (#1254).'."""
    model = f"judge_{style}"
    response = client.multi(
        listed(0.25),
        (spec(model, "regress", **choice), REGRESS),
        (spec(model, version={"value": 12}), CLASSIFY),
        (spec(model, "scores"), CLASSIFY),
    )
    assert [each.model_spec.version.value for each in response.results] == [3, 3, 3]


ONE = listed(0.25)
INVALID = "INVALID_ARGUMENT"
ROWS: dict[str, tuple[ours.Input | None, tuple[Task, ...], str, str]] = {
    "no tasks -> INVALID_ARGUMENT": (ONE, (), INVALID, "no tasks"),
    "empty name -> INVALID_ARGUMENT": (
        ONE,
        ((spec("judge_tf1", "regress"), REGRESS), (spec(""), CLASSIFY)),
        INVALID,
        "empty model name",
    ),
    "differing names -> INVALID_ARGUMENT same model name": (
        ONE,
        ((spec("judge_tf1", "regress"), REGRESS), (spec("judge_tf2"), CLASSIFY)),
        INVALID,
        "must access the same model name",
    ),
    "duplicate signature -> INVALID_ARGUMENT": (
        ONE,
        ((spec("judge_tf1"), CLASSIFY), (spec("judge_tf1", "serving_default"), CLASSIFY)),
        INVALID,
        "Duplicate evaluation of signature: serving_default",
    ),
    "unknown signature -> INVALID_ARGUMENT signature not found": (
        ONE,
        ((spec("judge_tf1", "nope"), CLASSIFY),),
        INVALID,
        "signature not found in model graph: nope",
    ),
    "method other than classify, regress -> UNIMPLEMENTED": (
        ONE,
        ((spec("judge_tf1"), "tensorflow/serving/predict"),),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "no method -> UNIMPLEMENTED": (
        ONE,
        ((spec("judge_tf1"), ""),),
        "UNIMPLEMENTED",
        "Unsupported signature method_name",
    ),
    "empty input as above: none": (
        None,
        ((spec("judge_tf1"), CLASSIFY),),
        INVALID,
        "Input is empty",
    ),
    "empty input as above: no examples": (
        listed(),
        ((spec("judge_tf2", "regress"), REGRESS),),
        INVALID,
        "Input is empty",
    ),
    "empty input as above: only a context": (
        with_context(example(x=1.0)),
        ((spec("judge_tf2"), CLASSIFY),),
        INVALID,
        "Input is empty",
    ),
    "signature not classify-shaped fails all": (
        ONE,
        ((spec("judge_tf2", "regress"), REGRESS), (spec("judge_tf2", "wordy"), CLASSIFY)),
        INVALID,
        "contain at least one of",
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row_of_failures(
    client: Client, row: tuple[ours.Input | None, tuple[Task, ...], str, str]
) -> None:
    """3.2, MultiInference, by code and gist."""
    made, tasks, code, words = row
    with pytest.raises(Refusal) as refused:
        client.multi(made, *tasks)
    assert refused.value.code == code
    assert words in refused.value.message


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("signature", "alias", "kind"),
    [
        ("half_plus_two:serving_default", "x", ("DT_FLOAT", [-1, 1])),
        ("judge:regress", "inputs", ("DT_STRING", [-1])),
        ("sampler:uint16", "x", ("DT_UINT16", None)),
    ],
)
def test_metadata_are_the_signatures(
    client: Client, style: str, signature: str, alias: str, kind: tuple[str, list[int] | None]
) -> None:
    """'Response: model_spec (name, version), metadata["signature_def"] = Any(SignatureDefMap)'."""
    model, _, signature = signature.partition(":")
    response = client.metadata(spec(f"{model}_{style}"), "signature_def")
    assert list(response.metadata) == ["signature_def"]
    found = SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    info = found.signature_def[signature].inputs[alias]
    shape = None if info.tensor_shape.unknown_rank else [d.size for d in info.tensor_shape.dim]
    assert (tensorflow_pb2.DataType.Name(info.dtype), shape) == kind
    assert info.name
    assert found.signature_def[signature].method_name == "tensorflow/serving/predict"


def test_metadata_tell_the_method_names_and_defaults(client: Client) -> None:
    """What TF1 models say of their signatures arrives."""
    found = SignatureDefMap()
    client.metadata(spec("zoo"), "signature_def").metadata["signature_def"].Unpack(found)
    assert found.signature_def["classify_x_to_y"].method_name == CLASSIFY
    assert found.signature_def["regress_x_to_y"].method_name == REGRESS


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((), "must specify at least one metadata_field"),
        (("nope",), "Metadata field nope is not supported"),
        (("signature_def", "nope"), "Metadata field nope is not supported"),
    ],
    ids=["empty", "another", "another beside signature_def"],
)
@pytest.mark.parametrize("model", ["judge_tf1", "no such model"])
def test_metadata_field_is_checked_before_the_model(
    client: Client, model: str, fields: tuple[str, ...], words: str
) -> None:
    """'metadata_field must be non-empty and only "signature_def", else INVALID_ARGUMENT (checked
    before the model lookup)'.
    """
    with pytest.raises(Refusal) as refused:
        client.metadata(spec(model), *fields)
    assert refused.value.code == INVALID
    assert words in refused.value.message


def test_session_service_is_unimplemented(channel: grpc.Channel) -> None:
    """3.4: 'a proto only: no implementation is registered … → UNIMPLEMENTED from gRPC'."""
    messages = cast("Any", session_service_pb2)
    call = cast(
        "grpc.UnaryUnaryMultiCallable[object, object]",
        channel.unary_unary(
            "/tensorflow.serving.SessionService/SessionRun",
            messages.SessionRunRequest.SerializeToString,
            messages.SessionRunResponse.FromString,
        ),
    )
    request = messages.SessionRunRequest(model_spec={"name": "half_plus_two"}, fetch=["y"])
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=TIMEOUT_SECONDS)
    assert cast("grpc.Call", refused.value).code() is grpc.StatusCode.UNIMPLEMENTED
