"""The Open Inference Protocol v2: inference, one request for a call and many for a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from headrace.consumer.core.calls import Encoding, Fault
from headrace.consumer.formats.infer_head import read_infer_head, refused_in_stream, streamed
from headrace.consumer.rpc.admission import Admission
from headrace.consumer.rpc.inference import Inference
from headrace.consumer.rpc.statuses import Context, Method, outcome, unserved
from headrace.consumer.rpc.streams import Streams

OPEN_INFERENCE_SERVICE: Final = "inference.GRPCInferenceService"

_NO_SHARED_MEMORY: Final = "shared memory is not served here: send tensors in the request"
_UNSERVED: Final = {
    "ModelStatistics": "statistics are not served here: read the metrics of the HTTP port",
    "SystemSharedMemoryStatus": _NO_SHARED_MEMORY,
    "SystemSharedMemoryRegister": _NO_SHARED_MEMORY,
    "SystemSharedMemoryUnregister": _NO_SHARED_MEMORY,
    "CudaSharedMemoryStatus": _NO_SHARED_MEMORY,
    "CudaSharedMemoryRegister": _NO_SHARED_MEMORY,
    "CudaSharedMemoryUnregister": _NO_SHARED_MEMORY,
    "TraceSetting": "tracing is not set over gRPC here",
    "LogSettings": "logging is not set over gRPC here: start the node with --log-level",
}
"""What Triton has beside the protocol, and its clients may call."""


class OpenInference:
    """Passes `ModelInferRequest`s to the versions that they name.

    **Concurrency:** event loop only; any number of calls at once.
    """

    def __init__(self, inference: Inference, admission: Admission) -> None:
        self._inference = inference
        self._admission = admission
        self._streams = Streams(self.infer_in_stream)

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by name, those that are refused too."""
        refused = {name: unserved(reason) for name, reason in _UNSERVED.items()}
        return {"ModelInfer": self.infer, **refused}

    def streams(self) -> Mapping[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """Return the handlers of the methods that take and give many messages, by name."""
        return {"ModelStreamInfer": self._streams.handler()}

    def close(self) -> None:
        """End every stream after the answers to what it has read."""
        self._streams.close()

    async def infer(self, request: bytes, context: Context) -> bytes | Fault:
        """Return the `ModelInferResponse` to a request; see `Inference.answer`.

        Raises:
            RequestError: the request cannot be routed, or the version's queue is full.
        """
        head = read_infer_head(request)
        answer = await self._inference.answer(
            head.route, Encoding.OPEN_INFERENCE, head.payload, context, head.timeout_seconds
        )
        return answer if isinstance(answer, Fault) else head.id + answer

    async def infer_in_stream(self, request: bytes, context: Context) -> bytes:
        """Return the `ModelStreamInferResponse` to a request."""
        answer = await outcome(self._admitted, request, context)
        if isinstance(answer, Fault):
            return refused_in_stream(request, answer)
        return streamed(answer)

    async def _admitted(self, request: bytes, context: Context) -> bytes | Fault:
        """Let a request of a stream in as if it were a call of its own."""
        self._admission.admit(request)
        answer = await self.infer(request, context)
        return answer if isinstance(answer, Fault) else self._admission.answer(answer)
