"""Small requests that would cost their reader far more than they are: memory, time, or both."""

from __future__ import annotations

import json
from typing import Final

from headrace.consumer.core.calls import Encoding
from headrace.protos.open_inference_pb2 import ModelInferRequest
from headrace.protos.routing_pb2 import ExamplesRequest
from headrace.protos.tensorflow_pb2 import DataType, TensorProto, TensorShapeProto
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest
from headrace.schemas import codec
from headrace.schemas.records import InferenceRequest, Tensor
from tests.fuzz.hostile_json import framed

Bomb = tuple[Encoding, bytes]


def _predict(tensors: int = 1, shape: tuple[int, ...] = (1,), **fields: object) -> Bomb:
    tensor = TensorProto(
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape]),
        **fields,  # type: ignore[arg-type]
    )
    inputs = {f"x{n}" if n else "x": tensor for n in range(tensors)}
    return Encoding.TENSORFLOW_SERVING, PredictRequest(inputs=inputs).SerializeToString()


def _examples(context: bytes, count: int) -> Bomb:
    spec = ModelSpec(name="m", signature_name="classify")
    message = ExamplesRequest(model_spec=spec)
    message.input.example_list_with_context.context = context
    message.input.example_list_with_context.examples.extend([b""] * count)
    return Encoding.CLASSIFICATION, message.SerializeToString()


def _infer(datatype: str, shape: tuple[int, ...], raw: bytes) -> Bomb:
    message = ModelInferRequest(model_name="m", raw_input_contents=[raw])
    message.inputs.add(name="x", datatype=datatype, shape=shape)
    return Encoding.OPEN_INFERENCE, message.SerializeToString()


def _avro(dtype: str, shape: tuple[int, ...]) -> Bomb:
    tensor = Tensor(name="x", dtype=dtype, shape=shape)
    return Encoding.AVRO, codec.encode(InferenceRequest(model="m", inputs=[tensor]))


def _json(body: object, encoding: Encoding = Encoding.TENSORFLOW_JSON) -> Bomb:
    return encoding, json.dumps(body).encode()


def _infer_json(shape: tuple[int, ...], data: object, datatype: str = "FP32") -> Bomb:
    tensor = {"name": "x", "shape": shape, "datatype": datatype, "data": data}
    return Encoding.OPEN_INFERENCE_JSON, framed(json.dumps({"inputs": [tensor]}).encode())


_EMPTY: Final[list[dict[str, str]]] = [{}] * 20_000
_CONTEXT: Final = {"f": "c" * 20_000}
_FLOAT, _STRING = DataType.DT_FLOAT, DataType.DT_STRING

BOMBS: Final[dict[str, Bomb]] = {
    "one value for a billion": _predict(shape=(2**28,), dtype=_FLOAT, float_val=[1.0]),
    "no value for a billion": _predict(shape=(2**28,), dtype=_FLOAT),
    "two values for a billion": _predict(shape=(2**28,), dtype=_FLOAT, float_val=[1.0, 2.0]),
    "no string for a hundred million": _predict(shape=(2**27,), dtype=_STRING),
    "many inputs of one value": _predict(100, (2**22,), dtype=_FLOAT, float_val=[1.0]),
    "a length that never ends": _predict(dtype=_STRING, tensor_content=b"\xff" * 10_000_000),
    "rows of nothing": _predict(shape=(2**40, 0), dtype=_FLOAT),
    "rows of nothing, raw": _infer("FP32", (2**40, 0), b""),
    "rows of nothing, Avro": _avro("float32", (2**40, 0)),
    "rows of no strings, Avro": _avro("string", (2**40, 0)),
    "rows of nothing, JSON": _infer_json((2**40, 0), []),
    "strings that are not there": _infer("BYTES", (2**40,), b"\0\0\0\0"),
    "a context for each of many": _examples(b"c" * 20_000, 20_000),
    "a context for each of many, JSON": _json(
        {"signature_name": "classify", "context": _CONTEXT, "examples": _EMPTY},
        Encoding.CLASSIFICATION_JSON,
    ),
    "one long text among numbers": _json({"inputs": ["a" * 100_000] + ["b"] * 20_000}),
    "one long text among numbers, Open Inference": _infer_json(
        (20_001,), ["a" * 100_000] + ["b"] * 20_000
    ),
    "a number of many digits": (Encoding.TENSORFLOW_JSON, b'{"inputs":[' + b"9" * 100_000 + b"]}"),
    "lists in lists": (
        Encoding.TENSORFLOW_JSON,
        b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ),
    "lists in lists, as deep as JSON goes": (
        Encoding.TENSORFLOW_JSON,
        b'{"inputs":' + b"[" * 400 + b"]" * 400 + b"}",
    ),
    "objects in objects": (
        Encoding.TENSORFLOW_JSON,
        b'{"inputs":' + b'{"x":' * 400 + b"1" + b"}" * 400 + b"}",
    ),
}
