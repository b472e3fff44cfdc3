"""What the tests of real workers share: a store, calls in both encodings, and what came back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.consumer.core.calls import Answer, Call, Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.formats.tensor_proto import encode_tensor_proto, from_tensor_proto
from headrace.protos.tensorflow_pb2 import TensorProto
from headrace.protos.tensorflow_serving_pb2 import ModelSpec, PredictRequest, PredictResponse
from headrace.schemas import codec
from headrace.schemas.manifest import scan
from headrace.schemas.records import InferenceRequest, InferenceResponse, ModelVersion
from headrace.schemas.tensors import from_tensor, to_tensor

Arrays = Mapping[str, npt.NDArray[Any]]


def publish(source: Path, store: Path, name: str = "", *, version: int = 1) -> PlannedVersion:
    """Put a folder into a store as publishing does, and return the version as planned."""
    manifest = scan(source)
    folder = store / manifest.digest.replace(":", "-")
    if not folder.exists():
        shutil.copytree(source, folder / "files")
        (folder / "manifest.json").write_bytes(manifest.to_json())
    record = ModelVersion(
        model=name or source.name,
        version=version,
        uri=folder.as_uri(),
        digest=manifest.digest,
        size_bytes=manifest.size_bytes,
    )
    return PlannedVersion(record, control_offset=0)


def avro(
    inputs: Arrays,
    *,
    signature: str = "serving_default",
    output_filter: Sequence[str] = (),
    seconds: float = 60.0,
) -> Call:
    """Return a call in Avro with that many seconds to live."""
    request = InferenceRequest(
        model="ignored",
        signature=signature,
        output_filter=tuple(output_filter),
        inputs=[to_tensor(name, array) for name, array in inputs.items()],
    )
    return Call(Encoding.AVRO, codec.encode(request), time.monotonic() + seconds)


def proto(
    inputs: Arrays,
    *,
    signature: str = "",
    output_filter: Sequence[str] = (),
    seconds: float = 60.0,
) -> Call:
    """Return a call in TensorFlow Serving's encoding with that many seconds to live."""
    request = PredictRequest(
        model_spec=ModelSpec(name="ignored", signature_name=signature),
        inputs={
            name: TensorProto.FromString(encode_tensor_proto(name, array))
            for name, array in inputs.items()
        },
        output_filter=output_filter,
    )
    payload = request.SerializeToString()
    return Call(Encoding.TENSORFLOW_SERVING, payload, time.monotonic() + seconds)


ENCODINGS = {"avro": avro, "proto": proto}


def outputs(answer: Answer) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of an answer that must be OK, in either encoding."""
    assert answer.code is Code.OK, answer
    if answer.payload.startswith(codec.fingerprint_of(InferenceResponse)):
        response = codec.decode(answer.payload, InferenceResponse)
        return {tensor.name: from_tensor(tensor) for tensor in response.outputs}
    message = PredictResponse.FromString(answer.payload)
    return {alias: from_tensor_proto(tensor) for alias, tensor in message.outputs.items()}


def floats(*values: float) -> dict[str, npt.NDArray[Any]]:
    """Return the input x as a vector."""
    return {"x": np.array(values, np.float32)}


def column(*values: float) -> dict[str, npt.NDArray[Any]]:
    """Return the input x as a column, as half_plus_two wants it."""
    return {"x": np.array(values, np.float32).reshape(-1, 1)}
