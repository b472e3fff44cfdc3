"""What the tests of real workers share: a store, calls in both encodings, and what came back."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.consumer.core.calls import Answers, Calls, Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.core.plan import PlannedVersion
from headrace.consumer.core.servable import Servable
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
) -> Calls:
    """Return one call in Avro with that many seconds to live."""
    request = InferenceRequest(
        model="ignored",
        signature=signature,
        output_filter=tuple(output_filter),
        inputs=[to_tensor(name, array) for name, array in inputs.items()],
    )
    return one(Encoding.AVRO, codec.encode(request), seconds=seconds)


def proto(
    inputs: Arrays,
    *,
    signature: str = "",
    output_filter: Sequence[str] = (),
    seconds: float = 60.0,
) -> Calls:
    """Return one call in TensorFlow Serving's encoding with that many seconds to live."""
    request = PredictRequest(
        model_spec=ModelSpec(name="ignored", signature_name=signature),
        inputs={
            name: TensorProto.FromString(encode_tensor_proto(name, array))
            for name, array in inputs.items()
        },
        output_filter=output_filter,
    )
    return one(Encoding.TENSORFLOW_SERVING, request.SerializeToString(), seconds=seconds)


def one(encoding: Encoding, payload: bytes, *, seconds: float = 60.0) -> Calls:
    """Return one call with that many seconds to live."""
    return Calls(encoding, [payload], [time.monotonic() + seconds])


def join(calls: Sequence[Calls]) -> Calls:
    """Return calls of one encoding as one."""
    return Calls(
        calls[0].encoding,
        [payload for each in calls for payload in each.payloads],
        [deadline for each in calls for deadline in each.deadlines_seconds],
    )


ENCODINGS = {"avro": avro, "proto": proto}


class Outcome(NamedTuple):
    """What became of one call."""

    payload: bytes
    fault: Fault | None

    @property
    def code(self) -> Code:
        """OK, or why there is no answer."""
        return Code.OK if self.fault is None else self.fault.code

    @property
    def message(self) -> str:
        """Why there is no answer, in words."""
        return "" if self.fault is None else self.fault.message

    @property
    def is_unreadable(self) -> bool:
        """Whether the request did not decode at all."""
        return self.fault is not None and self.fault.is_unreadable


async def ask(
    servable: Servable, calls: Sequence[Calls], *, may_wait: bool = False
) -> list[Outcome]:
    """Return what becomes of single calls: those of one encoding are asked together."""
    by_encoding: dict[Encoding, list[int]] = {}
    for place, call in enumerate(calls):
        by_encoding.setdefault(call.encoding, []).append(place)
    answered = await asyncio.gather(
        *(
            servable.infer(join([calls[place] for place in places]), may_wait=may_wait)
            for places in by_encoding.values()
        )
    )
    found = dict[int, Outcome]()
    for places, answers in zip(by_encoding.values(), answered, strict=True):
        found.update(zip(places, outcomes(answers), strict=True))
    return [found[place] for place in range(len(calls))]


def outcomes(answers: Answers) -> list[Outcome]:
    """Return answers one by one."""
    return [Outcome(each, answers.faults.get(n)) for n, each in enumerate(answers.payloads)]


def outputs(answer: Outcome) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of an answer that must be OK, in either encoding."""
    assert answer.fault is None, answer
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
