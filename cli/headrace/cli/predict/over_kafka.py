"""One inference over Kafka, by the publisher portion's client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.cli.predict.json_tensors import Array, Json, to_array
from headrace.cli.predict.question import Question
from headrace.publisher import InferenceClient
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.inference import Inference
from headrace.schemas.tensors import NUMPY_DTYPES, STRING
from headrace.schemas.topics import Topics


def parse_dtypes(pairs: list[str]) -> dict[str, np.dtype[Any]]:
    """Return the dtypes that `--dtype NAME=DTYPE` options name.

    Raises:
        InvalidArgument: not of that form, or an unknown dtype.
    """
    known = {name: dtype.newbyteorder("=") for name, dtype in NUMPY_DTYPES.items()}
    known[STRING] = np.dtype(object)
    dtypes: dict[str, np.dtype[Any]] = {}
    for pair in pairs:
        name, _, dtype = pair.partition("=")
        if not name or dtype not in known:
            raise InvalidArgument(
                f"--dtype {pair!r} is not allowed: give INPUT=DTYPE with one of {', '.join(known)}"
            )
        dtypes[name] = known[dtype]
    return dtypes


async def predict(
    connection: KafkaConnection,
    question: Question,
    inputs: Mapping[str, Array],
    *,
    claim_store: str | None,
) -> Inference:
    """Return the answer.

    Raises:
        InvalidArgument: the control offset cannot be.
        InferenceFailed: the node refused, or nobody answered in time.
        BrokerUnreachable: no broker answered.
        StoreError: there is no file system for the claim store.
    """
    client = InferenceClient(
        connection,
        topics=Topics.from_environment(),
        timeout=question.timeout_seconds,
        claim_store=claim_store,
    )
    async with client:
        return await client.infer(
            question.route.model,
            inputs,
            version=question.route.version,
            label=question.route.label,
            signature=question.signature,
            affinity=None if question.affinity is None else question.affinity.encode(),
            min_control_offset=question.min_control_offset,
        )


def arrays(inputs: Mapping[str, Json], dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, Array]:
    """Return the inputs as arrays; raises InvalidArgument as `to_array`, and for idle dtypes."""
    idle = set(dtypes) - set(inputs)
    if idle:
        raise InvalidArgument(
            f"--dtype names {', '.join(sorted(idle))}, which --inputs does not have: its inputs "
            f"are {', '.join(sorted(inputs)) or 'none'}"
        )
    return {name: to_array(name, value, dtypes.get(name)) for name, value in inputs.items()}
