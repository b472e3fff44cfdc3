"""Requests for the model of arithmetic, and what a batcher answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.consumer.core.calls import Calls, Encoding, Fault
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.batch import Batcher
from headrace.consumer.formats.request import Format
from headrace.consumer.formats.tensorflow_serving import TensorFlowServing
from headrace.consumer.formats.vectorised import Vectorised
from headrace.consumer.platforms.platform import Array, Model
from headrace.schemas import codec
from headrace.schemas.records import Batching, InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor

FAR = float("inf")


def make_batcher(model: Model, max_rows: int = 1024, rules: Batching | None = None) -> Batcher:
    """Return a batcher with both formats, and these rules or a bound."""
    formats: dict[Encoding, Format] = {
        Encoding.AVRO: Vectorised(Avro("m", 7)),
        Encoding.TENSORFLOW_SERVING: Vectorised(TensorFlowServing("m", 7)),
    }
    return Batcher(model, formats, rules or Batching(max_rows=max_rows))


def make_call(
    inputs: Mapping[str, Array],
    signature: str = "",
    output_filter: Sequence[str] = (),
    deadline: float = FAR,
) -> Calls:
    """Return one request in Avro."""
    request = InferenceRequest(
        model="m",
        signature=signature,
        output_filter=tuple(output_filter),
        inputs=[to_tensor(alias, array) for alias, array in inputs.items()],
    )
    return Calls(Encoding.AVRO, [codec.encode(request)], [deadline])


def answers(batcher: Batcher, calls: Sequence[Calls]) -> list[bytes | Fault]:
    """Return all answers in the order of the calls, each there exactly once."""
    found: dict[int, bytes | Fault] = {}
    for part in batcher.answer(calls):
        assert len(part.positions) == len(part.payloads)
        assert part.faults.keys() <= set(range(len(part.payloads)))
        for index, position in enumerate(part.positions):
            assert position not in found
            found[position] = part.faults.get(index, part.payloads[index])
    return [found[position] for position in range(len(found))]


def values(answer: bytes | Fault) -> dict[str, Array]:
    """Return the outputs of an answer that must be one."""
    assert isinstance(answer, bytes), answer
    response = codec.decode(answer, InferenceResponse)
    return {tensor.name: from_tensor(tensor) for tensor in response.outputs}


def fault(answer: bytes | Fault) -> Fault:
    """Return the fault of a request that must have failed."""
    assert isinstance(answer, Fault)
    return answer


def rows(n: int, width: int = 1, start: float = 0.0) -> dict[str, Array]:
    """Return inputs of the default signature with n rows."""
    a = np.arange(start, start + 2 * n, dtype=np.float32).reshape(n, 2)
    return {"a": a, "b": np.ones((n, width), np.float32)}
