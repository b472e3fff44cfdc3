"""Encoded requests of every kind, good and bad, for comparing two ways to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from headrace.consumer.formats.open_inference import SIGNATURE_PARAMETER, OpenInference, Style
from headrace.consumer.formats.request import Alike, Refused
from headrace.consumer.formats.tensor_proto import encode_tensor_proto
from headrace.consumer.platforms.platform import Array
from headrace.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from headrace.protos.tensorflow_pb2 import TensorProto
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest
from headrace.schemas import codec
from headrace.schemas.records import InferenceRequest
from headrace.schemas.tensors import NUMPY_DTYPES, to_tensor

STRINGS = np.dtype(object)
DTYPES: list[np.dtype[Any]] = [*NUMPY_DTYPES.values(), STRINGS]

dtypes = st.sampled_from(DTYPES)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


class Form(NamedTuple):
    """What requests have in common: all but the values of their tensors."""

    signature: str
    inputs: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
    output_filter: tuple[str, ...] = ()


forms = st.builds(
    Form,
    st.sampled_from(["", "serving_default", "é"]),
    st.dictionaries(st.sampled_from(["a", "b", "x" * 70, "ü"]), st.tuples(dtypes, shapes)),
    st.sampled_from([(), ("y",)]),
)


def filled(dtype: np.dtype[Any], shape: Sequence[int], seed: int) -> Array:
    """Return an array of any bytes that its dtype may have; seed 0 gives zeros."""
    random = np.random.default_rng(seed)
    count = int(np.prod(shape, dtype=int))
    if dtype == STRINGS:
        flat = np.empty(count, object)
        flat[:] = [random.bytes(int(size)) for size in random.integers(0, 3, count)]
        return flat.reshape(shape)
    content = random.bytes(count * dtype.itemsize) if seed else bytes(count * dtype.itemsize)
    flat = np.frombuffer(content, np.uint8)
    if dtype.kind == "b":
        flat = flat % 2
    return flat.view(dtype).reshape(shape)


def tensors(form: Form, seed: int) -> dict[str, Array]:
    """Return the inputs of a request of this form."""
    return {alias: filled(*kind, seed + n) for n, (alias, kind) in enumerate(form.inputs.items())}


def avro(form: Form, seed: int) -> bytes:
    """Return a request in Avro."""
    inputs = [to_tensor(alias, array) for alias, array in tensors(form, seed).items()]
    return codec.encode(
        InferenceRequest(
            model="m", signature=form.signature, output_filter=form.output_filter, inputs=inputs
        )
    )


def typed_predict(form: Form, seed: int) -> bytes:
    """Return a PredictRequest with typed fields."""
    return _predict(form, seed, encode_tensor_proto)


def packed_predict(form: Form, seed: int) -> bytes:
    """Return a PredictRequest with `tensor_content`, where there can be one."""

    def packed(alias: str, array: Array) -> bytes:
        encoded = encode_tensor_proto(alias, array)
        if array.dtype == STRINGS:
            return encoded
        proto = TensorProto.FromString(encoded)
        return TensorProto(
            dtype=proto.dtype, tensor_shape=proto.tensor_shape, tensor_content=array.tobytes()
        ).SerializeToString()

    return _predict(form, seed, packed)


def packed_infer(form: Form, seed: int) -> bytes:
    """Return a ModelInferRequest with `raw_input_contents`."""
    answer = _inferred(form, seed, is_raw=True)
    return _infer(form, answer, raw=answer.raw_output_contents)


def typed_infer(form: Form, seed: int) -> bytes:
    """Return a ModelInferRequest with `contents`, where there can be some."""
    answer = _inferred(form, seed, is_raw=False)
    return _infer(form, answer, raw=answer.raw_output_contents)


def _inferred(form: Form, seed: int, *, is_raw: bool) -> ModelInferResponse:
    """Return an answer whose outputs are the inputs of a request: the fields are the same."""
    codec = OpenInference("m", 7)
    # It has no complex numbers.
    arrays: dict[str, Array] = {
        alias: filled(np.dtype(np.float32), array.shape, seed) if array.dtype.kind == "c" else array
        for alias, array in tensors(form, seed).items()
    }
    return ModelInferResponse.FromString(codec.write("", arrays, Style("", is_raw=is_raw)))


def _infer(form: Form, answer: ModelInferResponse, raw: Sequence[bytes]) -> bytes:
    request = ModelInferRequest(
        model_name="m",
        inputs=[
            ModelInferRequest.InferInputTensor.FromString(output.SerializeToString())
            for output in answer.outputs
        ],
        raw_input_contents=raw,
        outputs=[
            ModelInferRequest.InferRequestedOutputTensor(name=name) for name in form.output_filter
        ],
    )
    if form.signature:
        request.parameters[SIGNATURE_PARAMETER].string_param = form.signature
    return request.SerializeToString()


def _predict(form: Form, seed: int, encode: Callable[[str, Array], bytes]) -> bytes:
    spec = ModelSpec(name="m", signature_name=form.signature)
    request = PredictRequest(model_spec=spec, output_filter=form.output_filter)
    for alias, array in tensors(form, seed).items():
        request.inputs[alias].ParseFromString(encode(alias, array))
    return request.SerializeToString()


@st.composite
def mutated(draw: st.DrawFn, payload: bytes) -> bytes:
    """Return the payload, mostly as it is."""
    how = draw(st.sampled_from(["not", "not", "not", "flip", "cut", "more", "long zero"]))
    if not payload:
        return payload
    match how:
        case "flip":
            place = draw(st.integers(0, 8 * len(payload) - 1))
            flipped = bytearray(payload)
            flipped[place // 8] ^= 1 << place % 8
            return bytes(flipped)
        case "cut":
            return payload[: draw(st.integers(0, len(payload) - 1))]
        case "more":
            return payload + draw(st.binary(max_size=2))
        case "long zero":
            # In Avro the last byte ends the list of inputs; this is the same number in two bytes.
            return payload[:-1] + b"\x80\x00" if payload[-1] == 0 else payload
        case _:
            return payload


@st.composite
def mixes(draw: st.DrawFn, encode: Callable[[Form, int], bytes]) -> list[bytes]:
    """Return requests of few forms, in any order, some of them damaged."""
    some = draw(st.lists(forms, min_size=1, max_size=3))
    picks = draw(st.lists(st.tuples(st.sampled_from(some), st.integers(0, 99)), max_size=24))
    payloads = [encode(form, seed) for form, seed in picks]
    for place in draw(st.lists(st.integers(0, 23), max_size=4)):
        if place < len(payloads):
            payloads[place] = draw(mutated(payloads[place]))
    return payloads


def one_by_one(decoded: Iterable[Alike | Refused]) -> list[object]:
    """Return what was decoded in the order of the payloads, in terms that can be compared."""
    found: dict[int, object] = {}
    for each in decoded:
        if isinstance(each, Refused):
            assert each.position not in found
            found[each.position] = (type(each.error), str(each.error))
            continue
        signature, inputs, output_filter, style = each.request
        for place, position in enumerate(each.positions):
            assert position not in found
            found[position] = (
                signature,
                {alias: _plain(array[place, ...]) for alias, array in inputs.items()},
                output_filter,
                style,
            )
        assert all(len(array) == len(each.positions) for array in inputs.values())
    return [found[position] for position in range(len(found))]


def _plain(array: Array) -> object:
    content = array.tolist() if array.dtype == STRINGS else array.tobytes()
    return (array.dtype, array.shape, content)
