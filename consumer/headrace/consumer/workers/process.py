"""A worker: the forked child that loads one model and answers calls until the node lets go.

Single-threaded and blocking on our side; the platform has threads of its own. Whatever goes wrong
in our code ends the process with an exit code, and the node sees that.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Final

from headrace.consumer.core.calls import Encoding, Fault
from headrace.consumer.core.codes import Code
from headrace.consumer.formats.answered import Answered, joined
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.batch import Batcher
from headrace.consumer.formats.examples import Examples
from headrace.consumer.formats.examples_json import ExamplesJson
from headrace.consumer.formats.methods import Classify, Regress
from headrace.consumer.formats.open_inference import OpenInference
from headrace.consumer.formats.open_inference_json import OpenInferenceJson
from headrace.consumer.formats.ordinary import Ordinary
from headrace.consumer.formats.request import Format
from headrace.consumer.formats.tensorflow_json import TensorFlowJson
from headrace.consumer.formats.tensorflow_serving import TensorFlowServing
from headrace.consumer.formats.vectorised import Vectorised
from headrace.consumer.platforms.blank import blank_inputs
from headrace.consumer.platforms.platform import LoadOptions, Model, Platform, PlatformError
from headrace.consumer.workers import frames, kernel
from headrace.consumer.workers.inbox import Inbox, Job

_MAX_ANSWER_BYTES: Final = 1 << 28
_FLUSH_BYTES: Final = 1 << 23
_BLANK_RUN_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 0.002
"""Answers wait this long for others of their frame: a node woken for each would do little else,
and a quick answer must not wait for a slow neighbour."""


def serve(stream: socket.socket, platform: Platform) -> None:
    """Load one model and answer calls; returns when the node closes the stream.

    Raises:
        FrameError: the stream carries something else than our frames.
    """
    # A node that goes away while we write ends us like one that goes away while we read.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        inbox = Inbox(stream)
        order = inbox.next()
        if order is None:
            return
        if not isinstance(order, frames.Load):
            raise frames.FrameError(f"expected a Load first, got {type(order).__name__}")
        batcher = _load(stream, platform, order)
        if batcher is not None:
            _answer(stream, inbox, batcher)


def _load(stream: socket.socket, platform: Platform, order: frames.Load) -> Batcher | None:
    """Load and warm the model and say how it went."""
    kernel.set_process_name(f"hr {order.model}/{order.version}")
    confinement = kernel.confined_to_one_core() if order.yields_cpu else contextlib.nullcontext()
    options = LoadOptions(order.intra_op_threads, order.inter_op_threads)
    try:
        with confinement:
            model = platform.load(order.path, options)
            batcher = _batcher(model, order)
            warmed, skipped = _warm_up(model, batcher)
    except PlatformError as error:
        stream.sendall(frames.encode(frames.LoadFailed(error.code, error.message)))
        return None
    stream.sendall(frames.encode(frames.Loaded(model.signature_def, warmed, skipped)))
    return batcher


def _batcher(model: Model, order: frames.Load) -> Batcher:
    return Batcher(model, formats_of(model, order.model, order.version), order.batching)


def formats_of(model: Model, name: str, version: int) -> dict[Encoding, Format]:
    """Return every encoding that requests for a model may come in."""
    return {
        Encoding.AVRO: Vectorised(Avro(name, version)),
        Encoding.TENSORFLOW_SERVING: Vectorised(TensorFlowServing(name, version)),
        Encoding.OPEN_INFERENCE: Vectorised(OpenInference(name, version)),
        Encoding.OPEN_INFERENCE_JSON: Ordinary(OpenInferenceJson(name, version)),
        Encoding.TENSORFLOW_JSON: Ordinary(TensorFlowJson(model.signatures)),
        Encoding.CLASSIFICATION: Ordinary(Examples(Classify(), name, version, model.signatures)),
        Encoding.REGRESSION: Ordinary(Examples(Regress(), name, version, model.signatures)),
        Encoding.CLASSIFICATION_JSON: Ordinary(ExamplesJson(Classify(), model.signatures)),
        Encoding.REGRESSION_JSON: Ordinary(ExamplesJson(Regress(), model.signatures)),
    }


def _warm_up(model: Model, batcher: Batcher) -> tuple[int, int]:
    """Answer the calls that came with the model, one at a time.

    Returns:
        How many were run, and how many were of another kind.

    Raises:
        PlatformError: one of them failed: a version that fails what its maker recorded is not fit
            to replace one that serves.
    """
    warmed = skipped = 0
    for number, call in enumerate(model.recorded_calls(), start=1):
        if call is None:
            skipped += 1
            continue
        warmed += 1
        for answered in batcher.answer([call]):
            for fault in answered.faults.values():
                raise PlatformError(
                    Code.FAILED_PRECONDITION,
                    f"warm-up request {number} failed: {fault.code.name}: {fault.message}",
                )
    if not warmed:
        _run_blank(model, batcher.rules.allowed_rows[:2] or (1, 2))
    return warmed, skipped


def _run_blank(model: Model, sizes: Sequence[int]) -> None:
    """Run each signature on made-up inputs, once for each number of rows.

    The first run of a graph also optimises it, and many operations take another way, to be
    prepared anew, for several rows than for one. What that takes would otherwise be paid by the
    first requests of the version. A model may well refuse such inputs; then they do pay.
    """
    for name, signature in model.signatures.items():
        for rows in sizes if signature.is_batchable else (1,):
            inputs = blank_inputs(signature, rows)
            if inputs is not None:
                with contextlib.suppress(PlatformError):
                    model.run(name, inputs, list(signature.outputs), _BLANK_RUN_SECONDS)


def _answer(stream: socket.socket, inbox: Inbox, batcher: Batcher) -> None:
    """Answer every frame of calls until the stream ends."""
    while (order := inbox.next()) is not None:
        match order:
            case Job():
                for ran in _ran(order, inbox, batcher):
                    stream.sendall(frames.encode(ran))
                inbox.done(order)
            case frames.Rebatch(batching=batching):
                batcher.rules = batching
            case frames.Load():
                raise frames.FrameError("a second Load on one stream")


def _ran(job: Job, inbox: Inbox, batcher: Batcher) -> Iterator[frames.Ran]:
    """Yield the answers to the calls of a frame."""
    everything = range(len(job.deadlines_seconds))
    runs = batcher.answer(job.calls, job.deadlines_seconds)
    for part in _gathered(_watching(runs, job, inbox)):
        positions = list(part.positions)
        is_whole = positions == list(everything)
        yield frames.Ran(job.frame, None if is_whole else positions, part.payloads, part.faults)


def _watching(runs: Iterator[Answered], job: Job, inbox: Inbox) -> Iterator[Answered]:
    """Yield the answers of each run, with a look at what has been called off before the next."""
    left = len(job.deadlines_seconds)
    for run in runs:
        yield run
        left -= len(run.positions)
        if left:
            inbox.look()


def _gathered(runs: Iterator[Answered]) -> Iterator[Answered]:
    """Join the answers of several runs while that keeps none of them waiting for long."""
    gathered: list[Answered] = []
    size, since = 0, time.monotonic()
    for run in runs:
        run_bytes = sum(map(len, run.payloads))
        gathered.append(run if run_bytes <= _MAX_ANSWER_BYTES else _bounded(run))
        size += run_bytes
        if size > _FLUSH_BYTES or time.monotonic() - since > _FLUSH_SECONDS:
            yield joined(gathered)
            gathered, size, since = [], 0, time.monotonic()
    if gathered:
        yield joined(gathered)


def _bounded(run: Answered) -> Answered:
    """Return answers with a fault in place of each that is too long for a frame."""
    payloads, faults = list(run.payloads), dict(run.faults)
    for index, payload in enumerate(payloads):
        if len(payload) > _MAX_ANSWER_BYTES:
            payloads[index] = b""
            faults[index] = Fault(
                Code.RESOURCE_EXHAUSTED,
                f"the answer has {len(payload)} bytes; at most {_MAX_ANSWER_BYTES}: "
                "ask for fewer rows or outputs at once",
            )
    return Answered(run.positions, payloads, faults)
