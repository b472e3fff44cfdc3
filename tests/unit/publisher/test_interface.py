"""What a publisher reads of a model's inputs and outputs without what runs it."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from headrace.protos.onnx_pb2 import ModelProto
from headrace.protos.saved_model_pb2 import SavedModel, SignatureDef, TensorShape
from headrace.publisher.interface import MAX_BYTES, bounded
from headrace.publisher.model_folder import inspect
from headrace.schemas import codec
from headrace.schemas.records import ModelVersion, SignatureSpec, TensorSpec
from tests.onnx_models import write_onnx
from tests.python_models import write_python

FLOATS = TensorSpec(name="x", dtype="float32", shape=(-1, 3))


def saved(folder: Path, **signatures: SignatureDef) -> Path:
    """Write a SavedModel with these signatures and return its folder."""
    model = SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    for name, definition in signatures.items():
        graph.signature_def[name].CopyFrom(definition)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def definition(dtype: int, shape: TensorShape, name: str = "x:0") -> SignatureDef:
    """Return a signature with one input `x`, and an output `y` that is a float32 scalar."""
    made = SignatureDef()
    made.inputs["x"].name, made.inputs["x"].dtype = name, dtype
    made.inputs["x"].tensor_shape.CopyFrom(shape)
    made.outputs["y"].name, made.outputs["y"].dtype = "y:0", 1
    return made


def dims(*sizes: int) -> TensorShape:
    """Return a shape."""
    return TensorShape(dim=[TensorShape.Dim(size=size) for size in sizes])


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "float32"),
        (2, "float64"),
        (3, "int32"),
        (7, "string"),
        (10, "bool"),
        (14, "bfloat16"),
        (18, "complex128"),
        (19, "float16"),
        (101, "float32"),
        (109, "int64"),
        (9999, "dtype 9999"),
    ],
)
def test_dtypes_of_a_saved_model_have_the_names_of_numpy(
    tmp_path: Path, number: int, name: str
) -> None:
    """Also those of references, as TF1 has them, and of what nobody knows."""
    (found,) = inspect(saved(tmp_path / "m", s=definition(number, dims(-1, 3)))).interface
    assert found.inputs == (TensorSpec(name="x", dtype=name, shape=(-1, 3)),)
    assert found.outputs == (TensorSpec(name="y", dtype="float32", shape=()),)


def test_an_unknown_rank_is_no_scalar(tmp_path: Path) -> None:
    """The wire form of both has no dimension."""
    folder = saved(tmp_path / "m", s=definition(1, TensorShape(unknown_rank=True)))
    assert inspect(folder).interface[0].inputs[0].shape is None


def test_an_input_with_a_default_is_optional(tmp_path: Path) -> None:
    """Requests may leave it out."""
    made = definition(1, dims())
    made.defaults["x"].SetInParent()
    (found,) = inspect(saved(tmp_path / "m", s=made)).interface
    assert [spec.is_optional for spec in (*found.inputs, *found.outputs)] == [True, False]


def test_a_signature_that_nobody_can_call_is_named_and_not_described(tmp_path: Path) -> None:
    """A sparse tensor has no name to feed."""
    summary = inspect(
        saved(tmp_path / "m", a=definition(1, dims()), b=definition(1, dims(), name=""))
    )
    assert summary.signatures == ("a", "b")
    assert [each.name for each in summary.interface] == ["a"]


def test_reads_an_onnx_graph(tmp_path: Path) -> None:
    """Symbolic dimensions are unknown ones; a graph is one signature."""
    (found,) = inspect(write_onnx("half_plus_two", tmp_path)).interface
    assert found == SignatureSpec(
        name="serving_default",
        inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 1)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 1)),),
    )


def test_reads_every_kind_of_onnx_tensor(tmp_path: Path) -> None:
    """Half precision, truth and whole numbers."""
    (found,) = inspect(write_onnx("kinds", tmp_path)).interface
    assert [spec.dtype for spec in found.inputs] == ["float16", "bool", "int64"]


def test_onnx_weights_are_no_inputs_and_what_has_no_shape_may_have_any(tmp_path: Path) -> None:
    """Old exporters list initializers among the inputs."""
    model = ModelProto(ir_version=10)
    for name in ("x", "weight"):
        model.graph.input.add(name=name).type.tensor_type.elem_type = 1
    model.graph.initializer.add(name="weight")
    model.graph.output.add(name="y").type.tensor_type.elem_type = 8
    model.graph.output.add(name="maps")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    (found,) = inspect(tmp_path).interface
    assert found.inputs == (TensorSpec(name="x", dtype="float32"),)
    assert found.outputs == (TensorSpec(name="y", dtype="string"),)


def test_an_onnx_graph_that_takes_no_tensor_is_not_described(tmp_path: Path) -> None:
    """No node would serve it; that is not for the reader to say."""
    model = ModelProto(ir_version=10)
    model.graph.input.add(name="sequence")
    model.graph.output.add(name="y").type.tensor_type.elem_type = 1
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert inspect(tmp_path).interface == ()


def test_reads_the_body_of_a_python_class(tmp_path: Path) -> None:
    """Without running it."""
    (found,) = inspect(write_python("text", tmp_path)).interface
    assert found.inputs == (TensorSpec(name="text", dtype="string", shape=(-1,)),)
    assert found.outputs == (TensorSpec(name="same_text", dtype="string", shape=(-1,)),)


def python(folder: Path, body: str) -> tuple[SignatureSpec, ...]:
    """Return what is read of a class with this body."""
    method = "    def predict(self, inputs): ...\n"
    source = f"class Model:\n{dedent(body).strip().replace(chr(10), chr(10) + '    ')}\n"
    (folder / "model.py").write_text(source.replace("Model:\n", "Model:\n    ") + method)
    return inspect(folder).interface


def test_python_dtypes_and_shapes_are_read_as_a_node_reads_them(tmp_path: Path) -> None:
    """Short names, lists, unknown ranks, annotations."""
    body = """
        inputs: dict = {"x": ("f4", [None, 3]), "any": ("float", None)}
        outputs = {}
    """
    (found,) = python(tmp_path, body)
    assert found.inputs == (FLOATS, TensorSpec(name="any", dtype="float64"))
    assert found.outputs == ()


@pytest.mark.parametrize(
    "body",
    [
        'inputs = {"x": ("float32", (None,))}',
        'inputs = outputs = {"x": ("float32", (None,))}',
        "inputs = make()\noutputs = {}",
        'inputs = {"x": ("float99", None)}\noutputs = {}',
        'inputs = {"x": ("float32", "wide")}\noutputs = {}',
        'inputs = {"x": "float32"}\noutputs = {}',
        "inputs = 7\noutputs = {}",
        'inputs = {1: ("float32", None)}\noutputs = {}',
        "inputs = {}\noutputs = {}\ndef __init__(self, folder): self.inputs = {}",
        "inputs = {}\noutputs = {}\nif True:\n    inputs = {}",
    ],
)
def test_what_only_running_a_class_can_tell_stays_empty(tmp_path: Path, body: str) -> None:
    """Half of an interface would look like outputs that are gone."""
    assert python(tmp_path, body) == ()


def test_two_classes_of_that_name_are_not_chosen_between(tmp_path: Path) -> None:
    """Which of them counts, the file decides when it runs."""
    one = "class Model:\n    inputs = {}\n    outputs = {}\n    def predict(self, x): ...\n"
    (tmp_path / "model.py").write_text(one + one)
    assert inspect(tmp_path).interface == ()


def test_another_platform_is_not_read(tmp_path: Path) -> None:
    """Its files are its own affair."""
    (tmp_path / "weights.json").write_text("{}")
    assert inspect(tmp_path, "linear").interface == ()


def test_an_event_carries_no_more_signatures_than_it_has_room_for() -> None:
    """Those that are left out are not compared; the rest is, in its order."""
    many = [
        SignatureSpec(name=f"signature-{n:05d}", inputs=(FLOATS,) * 9, outputs=(FLOATS,) * 9)
        for n in range(2000)
    ]
    kept = bounded(many)
    assert 100 < len(kept) < len(many)
    assert kept == tuple(many[: len(kept)])
    record = ModelVersion(
        model="m", version=1, uri="/m", digest="sha256:0", size_bytes=0, interface=kept
    )
    assert len(codec.encode(record)) < MAX_BYTES
    assert bounded(many[:100]) == tuple(many[:100])
