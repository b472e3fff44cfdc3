"""What doors rely on in a servable: the same of a worker process and of the fake in tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from headrace.consumer.artifacts.cache import ArtifactCache
from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.servable import Loader, Servable
from headrace.consumer.workers.loader import WorkerLoader
from headrace.consumer.workers.zygote_client import Zygotes
from headrace.protos.tensorflow_serving_pb2 import PredictResponse, SignatureDefMap
from headrace.schemas import codec
from headrace.schemas.records import Batching, InferenceResponse
from tests.fakes.servable import FakeLoader
from tests.integration.consumer.workers.rig import ENCODINGS, ask, column, one, outputs, publish
from tests.models import model

LOOP = pytest.mark.asyncio(loop_scope="module")
IN_BOTH_ENCODINGS = pytest.mark.parametrize("encoding", ENCODINGS)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["worker", "fake"])
async def loader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Loader]:
    """Each kind of loader in turn."""
    if request.param == "fake":
        yield FakeLoader()
        return
    cache = ArtifactCache(tmp_path_factory.mktemp("cache"), max_bytes=2**30)
    async with Zygotes() as zygotes, WorkerLoader(cache, zygotes) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def servable(loader: Loader, tmp_path: Path) -> AsyncGenerator[Servable]:
    """Half plus two, version 1."""
    planned = publish(model("half_plus_two"), tmp_path)
    loaded = await loader.load(planned, Batching(), yields_cpu=False)
    yield loaded
    await loaded.unload()


@LOOP
@IN_BOTH_ENCODINGS
async def test_answers_in_the_order_and_encoding_of_the_calls(
    servable: Servable, encoding: str
) -> None:
    """One answer per call, and each knows its version."""
    calls = [ENCODINGS[encoding](column(number)) for number in range(5)]
    answers = await ask(servable, calls)
    assert [outputs(answer)["y"].tolist() for answer in answers] == [
        [[number / 2 + 2]] for number in range(5)
    ]


@LOOP
async def test_answers_name_the_version_and_the_signature(servable: Servable) -> None:
    """The request named none; the answer says what was used."""
    avro, proto = await ask(servable, [make(column(1)) for make in ENCODINGS.values()])
    response = codec.decode(avro.payload, InferenceResponse)
    assert (response.version, response.signature) == (1, "serving_default")
    spec = PredictResponse.FromString(proto.payload).model_spec
    assert (spec.version.value, spec.signature_name) == (1, "serving_default")


@LOOP
@IN_BOTH_ENCODINGS
async def test_one_bad_call_fails_alone(servable: Servable, encoding: str) -> None:
    """Each call succeeds or fails by itself, with the code of its own fault."""
    make = ENCODINGS[encoding]
    kind = Encoding.AVRO if encoding == "avro" else Encoding.TENSORFLOW_SERVING
    good = make(column(1))
    calls = [
        good,
        make(column(1), signature="nonsense"),
        make({}),
        make({**column(1), "z": np.zeros(1, np.float32)}),
        one(kind, b"\xff" * 20),
        good,
    ]
    answers = await ask(servable, calls)
    assert [answer.code for answer in answers] == [
        Code.OK,
        Code.FAILED_PRECONDITION,
        Code.INVALID_ARGUMENT,
        Code.INVALID_ARGUMENT,
        Code.INVALID_ARGUMENT,
        Code.OK,
    ]
    assert [answer.is_unreadable for answer in answers] == [False] * 4 + [True, False]
    assert all(answer.message for answer in answers if answer.code is not Code.OK)


@LOOP
@pytest.mark.parametrize("may_wait", [False, True])
async def test_expired_call_is_not_run(servable: Servable, may_wait: bool) -> None:
    """Nobody waits for it any more; its neighbours are answered."""
    make = ENCODINGS["proto"]
    answers = await ask(servable, [make(column(1), seconds=-1), make(column(1))], may_wait=may_wait)
    assert [answer.code for answer in answers] == [Code.DEADLINE_EXCEEDED, Code.OK]


@LOOP
async def test_says_its_signatures(servable: Servable) -> None:
    """The signatures are those of the model, in TensorFlow Serving's encoding."""
    signature = SignatureDefMap.FromString(servable.signature_def).signature_def["serving_default"]
    assert (list(signature.inputs), list(signature.outputs)) == (["x"], ["y"])


@LOOP
async def test_answers_unavailable_once_unloaded(servable: Servable) -> None:
    """A call that comes too late is told to go elsewhere; unloading twice is no error."""
    await servable.unload()
    (answer,) = await ask(servable, [ENCODINGS["proto"](column(1))])
    assert answer.code is Code.UNAVAILABLE


@LOOP
async def test_is_not_broken_while_it_works(servable: Servable) -> None:
    """Waiting for the end leaves nothing behind when it is given up."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(servable.wait_broken(), 0.01)
    (answer,) = await ask(servable, [ENCODINGS["proto"](column(1))])
    assert answer.code is Code.OK
