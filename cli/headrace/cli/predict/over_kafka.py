"""One inference over Kafka, by the publisher portion's client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.cli.predict.json_tensors import Array, Json, to_array
from headrace.publisher import InferenceClient
from headrace.publisher.connection import KafkaConnection
from headrace.publisher.errors import InvalidArgument
from headrace.schemas.records import Route
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
    route: Route,
    signature: str,
    inputs: Mapping[str, Array],
    *,
    timeout_seconds: float,
    claim_store: str | None,
) -> tuple[dict[str, Array], str, int | None]:
    """Return outputs, model and version.

    Raises:
        InferenceFailed: the node refused, or nobody answered in time.
        BrokerUnreachable: no broker answered.
        StoreError: there is no file system for the claim store.
    """
    client = InferenceClient(
        connection,
        topics=Topics.from_environment(),
        timeout=timeout_seconds,
        claim_store=claim_store,
    )
    async with client:
        answer = await client.infer(
            route.model,
            inputs,
            version=route.version,
            label=route.label,
            signature=signature,
        )
    return dict(answer.outputs), answer.model, answer.version


def arrays(inputs: Mapping[str, Json], dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, Array]:
    """Return the inputs as arrays; raises InvalidArgument as `to_array`, and for idle dtypes."""
    idle = set(dtypes) - set(inputs)
    if idle:
        raise InvalidArgument(
            f"--dtype names {', '.join(sorted(idle))}, which --inputs does not have: its inputs "
            f"are {', '.join(sorted(inputs)) or 'none'}"
        )
    return {name: to_array(name, value, dtypes.get(name)) for name, value in inputs.items()}
