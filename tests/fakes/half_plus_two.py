"""The model of the fake servable, half plus two, in the real encodings of requests and answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from headrace.consumer.core.calls import Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.open_inference import OpenInference
from headrace.protos.tensorflow_pb2 import DataType, TensorInfo, TensorProto
from headrace.protos.tensorflow_serving_pb2 import (
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import DEFAULT_SIGNATURE, InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor

Floats = npt.NDArray[np.float32]


def signatures() -> SignatureDefMap:
    """Return the signatures of the model: `serving_default`, `x` to `y`, any number of floats."""
    known = SignatureDefMap()
    signature = known.signature_def[DEFAULT_SIGNATURE]
    signature.method_name = "tensorflow/serving/predict"
    for tensors, name in ((signature.inputs, "x"), (signature.outputs, "y")):
        info = TensorInfo(name=f"{name}:0", dtype=DataType.DT_FLOAT)
        info.tensor_shape.dim.add(size=-1)
        tensors[name].CopyFrom(info)
    return known


def predict_request(model: str, values: npt.ArrayLike, *, packed: bool = False) -> PredictRequest:
    """Return a request for half plus two, in typed fields or as packed bytes."""
    floats = np.asarray(values, np.float32)
    request = PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(_tensor_proto(floats, packed=packed))
    return request


def predicted(response: PredictResponse) -> Floats:
    """Return what half plus two answered."""
    return _from_tensor_proto(response.outputs["y"])


def answer_predict(payload: bytes, version: int) -> bytes | Fault:
    """Return what the model answers to an encoded `PredictRequest`."""
    try:
        request = PredictRequest.FromString(payload)
    except DecodeError:
        return Fault(Code.INVALID_ARGUMENT, message="not a PredictRequest", is_unreadable=True)
    signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
    refusal = _refusal(signature, set(request.inputs))
    if refusal is not None:
        return refusal
    response = PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature
    outputs = _model(_from_tensor_proto(request.inputs["x"]))
    response.outputs["y"].CopyFrom(_tensor_proto(outputs, packed=False))
    return response.SerializeToString()


def answer_infer(payload: bytes, version: int) -> bytes | Fault:
    """Return what the model answers to an encoded `ModelInferRequest`."""
    request = OpenInference("half_plus_two", version).read(payload)
    if isinstance(request, InvalidRequest):
        return Fault(Code.INVALID_ARGUMENT, message=str(request))
    refusal = _refusal(request.signature or DEFAULT_SIGNATURE, set(request.inputs))
    if refusal is not None:
        return refusal
    outputs = {"y": _model(request.inputs["x"])}
    codec = OpenInference("half_plus_two", version)
    return codec.write(DEFAULT_SIGNATURE, outputs, request.style)


def answer_avro(payload: bytes, version: int) -> bytes | Fault:
    """Return what the model answers to an encoded `InferenceRequest`."""
    try:
        request = codec.decode(payload, InferenceRequest)
    except WireError as error:
        return Fault(Code.INVALID_ARGUMENT, message=str(error), is_unreadable=True)
    refusal = _refusal(request.signature, {tensor.name for tensor in request.inputs})
    if refusal is not None:
        return refusal
    response = InferenceResponse(
        model=request.model,
        version=version,
        signature=request.signature,
        outputs=(to_tensor("y", _model(from_tensor(request.inputs[0]))),),
    )
    return codec.encode(response)


def _model(x: Floats) -> Floats:
    return x / np.float32(2) + np.float32(2)


def _refusal(signature: str, inputs: set[str]) -> Fault | None:
    if signature != DEFAULT_SIGNATURE:
        return Fault(Code.FAILED_PRECONDITION, message=f"signature {signature!r} not found")
    if inputs != {"x"}:
        return Fault(Code.INVALID_ARGUMENT, message=f"inputs {sorted(inputs)}; expected x")
    return None


def _tensor_proto(values: Floats, *, packed: bool) -> TensorProto:
    proto = TensorProto(dtype=DataType.DT_FLOAT)
    for size in values.shape:
        proto.tensor_shape.dim.add(size=size)
    if packed:
        proto.tensor_content = values.astype("<f4").tobytes()
    else:
        proto.float_val.extend(values.ravel().tolist())
    return proto


def _from_tensor_proto(proto: TensorProto) -> Floats:
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, np.float32).reshape(shape)
    return np.array(proto.float_val, np.float32).reshape(shape)
