"""facts/tfserving.md 3.2, Classify and Regress: what they take, give and refuse."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from headrace.protos import tensorflow_serving_pb2 as ours
from tests.conformance.tensorflow_serving import (
    STYLES,
    Client,
    Refusal,
    classes,
    example,
    listed,
    spec,
    values,
    with_context,
)
from tests.integration.consumer.rpc.official import Input

each_style = pytest.mark.parametrize("style", STYLES)
METHODS = ("Classify", "Regress")


@each_style
def test_classify_gives_labels_and_scores_by_example_in_order(client: Client, style: str) -> None:
    """'per example a list of classes {label, score} … in order'."""
    made = listed(example(x=0.25, name=b"a"), example(x=0.75, name="ü".encode()))
    response = client.classify(spec(f"judge_{style}"), made)
    assert classes(response.result) == [
        [("a-low", 0.75), ("a-high", 0.25)],
        [("ü-low", 0.25), ("ü-high", 0.75)],
    ]


@each_style
@pytest.mark.parametrize(
    ("signature", "given"),
    [("scores", [("", 0.75), ("", 0.25)]), ("labels", [("-low", 0.0), ("-high", 0.0)])],
)
def test_classify_gives_what_there_is_of_labels_and_scores(
    client: Client, style: str, signature: str, given: list[tuple[str, float]]
) -> None:
    """'classes {label, score} (either may be absent)'."""
    response = client.classify(spec(f"judge_{style}", signature), listed(0.25))
    assert classes(response.result) == [given]


@each_style
def test_regress_gives_a_number_by_example_in_order(client: Client, style: str) -> None:
    """'one float value, in order'; of shape [n]."""
    response = client.regress(spec(f"judge_{style}", "regress"), listed(3.5, -1.0, 0.0))
    assert values(response.result) == [3.5, -1.0, 0.0]


@pytest.mark.parametrize(
    ("signature", "given"), [("regress_x_to_y", [3.0, 4.5]), ("regress_x_to_y2", [4.0, 5.5])]
)
def test_regress_takes_one_column(client: Client, signature: str, given: list[float]) -> None:
    """'[n] or [n,1] float': TensorFlow Serving's own test model has [n,1]."""
    assert values(client.regress(spec("zoo", signature), listed(2.0, 5.0)).result) == given


@each_style
@pytest.mark.parametrize("method", METHODS)
def test_context_is_prepended_to_every_example(client: Client, style: str, method: str) -> None:
    """'context bytes are prepended to every example; duplicate keys undefined but must not crash'.

    Here the example's own value counts, as protobuf merges maps.
    """
    made = with_context(example(w=10.0, name=b"c"), example(x=1.0), example(x=2.0, w=3.0))
    if method == "Regress":
        response = client.regress(spec(f"judge_{style}", "regress"), made)
        assert values(response.result) == [10.0, 6.0]
    else:
        found = client.classify(spec(f"judge_{style}"), made)
        assert classes(found.result) == [
            [("c-low", -9.0), ("c-high", 10.0)],
            [("c-low", -5.0), ("c-high", 6.0)],
        ]


INPUT_EMPTY = {
    "no input": None,
    "input of no kind": Input(),
    "empty list": listed(),
    "only a context": with_context(example(x=1.0)),
}


@each_style
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("made", INPUT_EMPTY.values(), ids=INPUT_EMPTY)
def test_input_is_empty(client: Client, style: str, method: str, made: ours.Input | None) -> None:
    """'no input, empty list, or only a context → INVALID_ARGUMENT "Input is empty"'."""
    with pytest.raises(Refusal, match="INVALID_ARGUMENT: Input is empty"):
        asked(client, method, f"judge_{style}", "regress" if method == "Regress" else "", made)


class Row(NamedTuple):
    """A signature that does not fit, and in which words it is refused."""

    method: str
    signature: str
    words: str


ROWS = {
    "unknown signature -> no signature was found with the name (classify)": Row(
        "Classify", "nope", "No signature was found with the name: nope"
    ),
    "unknown signature -> no signature was found with the name (regress)": Row(
        "Regress", "nope", "No signature was found with the name: nope"
    ),
    "outputs not classes/scores": Row("Classify", "regress", "contain at least one of"),
    "outputs not classes/scores: another name": Row("Classify", "wordy", "contain at least one of"),
    "outputs not classes/scores: three": Row(
        "Classify", "threefold", "Expected one or two output Tensors, found 3"
    ),
    'outputs not exactly "outputs": classes': Row("Regress", "labels", "Expected one output"),
    'outputs not exactly "outputs": two': Row("Regress", "serving_default", "Expected one output"),
    "classes not string": Row(
        "Classify", "number_classes", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"
    ),
    "scores not 2-D": Row("Classify", "flat_scores", "[batch_size num_classes] but got [2]"),
    "scores not float": Row(
        "Classify", "double_scores", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"
    ),
    "batch != examples": Row(
        "Classify", "fewer_scores", "Expected scores output batch size of 2. Got: 1"
    ),
    "classes vs scores width differ": Row(
        "Classify", "uneven", "should match in dim_size(1). Got 2 vs. 1"
    ),
    "regress output not [n] or [n,1]": Row(
        "Regress", "wide_regress", "either [batch_size] or [batch_size, 1] but got [2, 2]"
    ),
    "regress output not float": Row(
        "Regress", "double_regress", "Expected output Tensor of DT_FLOAT. Got: DT_DOUBLE"
    ),
    "regress output batch != examples": Row(
        "Regress", "fewer_regress", "did not match output batch size: 2 vs. 1"
    ),
}


@each_style
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row_of_the_table_of_failures(client: Client, style: str, row: Row) -> None:
    """3.2, Classify and Regress: all INVALID_ARGUMENT, by gist."""
    with pytest.raises(Refusal) as refused:
        asked(client, row.method, f"judge_{style}", row.signature, listed(1.0, 2.0))
    assert refused.value.code == "INVALID_ARGUMENT"
    assert row.words in refused.value.message


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("model", "signature"), [("sampler_tf1", "pair"), ("sampler_tf2", "total"), ("zoo", "")]
)
def test_signature_that_takes_no_examples(
    client: Client, method: str, model: str, signature: str
) -> None:
    """'≠ 1 input "inputs" → INVALID_ARGUMENT expected one input'."""
    with pytest.raises(Refusal, match="INVALID_ARGUMENT: Expected one input"):
        asked(client, method, model, signature, listed(1.0))


@pytest.mark.parametrize(
    ("method", "signature", "words"),
    [
        ("Classify", "regress_x_to_y", "contain at least one of"),
        ("Regress", "classify_x_to_y", "Expected one output"),
        ("Regress", "regress_x2_to_y3", "but string is provided"),
    ],
)
def test_signature_of_the_other_method(
    client: Client, method: str, signature: str, words: str
) -> None:
    """TF1 signatures that say their method; the last takes floats, not examples."""
    with pytest.raises(Refusal) as refused:
        asked(client, method, "zoo", signature, listed(1.0))
    assert refused.value.code == "INVALID_ARGUMENT"
    assert words in refused.value.message


@each_style
@pytest.mark.parametrize("method", METHODS)
def test_method_name_does_not_matter(client: Client, style: str, method: str) -> None:
    """2.1, enable_signature_method_name_check: 'false lets TF2 signatures be used'.

    Those of `judge` say tensorflow/serving/predict in both styles.
    """
    signature = "regress" if method == "Regress" else "scores"
    assert asked(client, method, f"judge_{style}", signature, listed(0.5))


@each_style
def test_example_that_the_graph_cannot_parse(client: Client, style: str) -> None:
    """Not a row: TensorFlow's own code and words for a feature that is missing."""
    with pytest.raises(Refusal) as refused:
        client.regress(spec(f"judge_{style}", "regress"), listed(example(y=1.0)))
    assert refused.value.code == "INVALID_ARGUMENT"
    assert "x" in refused.value.message


def asked(
    client: Client, method: str, model: str, signature: str, made: ours.Input | None
) -> ours.ClassificationResult | ours.RegressionResult:
    """Ask a model by one of the methods."""
    if method == "Classify":
        return client.classify(spec(model, signature), made).result
    return client.regress(spec(model, signature), made).result
