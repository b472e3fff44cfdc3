"""The Open Inference Protocol's ModelInfer as bytes, as `predict_wire` has Predict."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.predict_wire import Floats
from headrace.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"


def request_bytes(model: str, name: str, values: Floats) -> bytes:
    """Return a request with one float32 input, its values raw."""
    tensor = ModelInferRequest.InferInputTensor(name=name, datatype="FP32", shape=values.shape)
    request = ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[values.tobytes()]
    )
    return request.SerializeToString()


def output_of(answer: bytes, name: str) -> Floats:
    """Return a float32 output of an answer, in whichever of the two ways it is written."""
    response = ModelInferResponse.FromString(answer)
    index = [output.name for output in response.outputs].index(name)
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[index], np.float32)
    return np.array(response.outputs[index].contents.fp32_contents, np.float32)
