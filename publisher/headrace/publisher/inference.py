"""One inference as its caller sees it: a request made of arrays, an answer read into arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from headrace.publisher.clients import Message
from headrace.publisher.errors import InferenceFailed, InvalidArgument
from headrace.schemas import codec
from headrace.schemas.errors import WireError
from headrace.schemas.records import DEFAULT_SIGNATURE, InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor
from headrace.schemas.topics import AnswerHeader, RequestHeader

Inputs = Mapping[str, npt.ArrayLike]
Request = InferenceRequest | tuple[str, Inputs]


@dataclass(frozen=True, slots=True)
class Inference:
    """An answer: outputs by name, and where they came from.

    `headers` are the answer record's, as text. The outputs are read-only arrays.
    """

    outputs: dict[str, npt.NDArray[Any]]
    model: str
    version: int | None
    signature: str
    headers: Mapping[str, str]

    @property
    def node(self) -> str | None:
        """The node that answered."""
        return self.headers.get(AnswerHeader.NODE)

    @property
    def control_offset(self) -> int | None:
        """The offset of the event that brought the version."""
        offset = self.headers.get(AnswerHeader.CONTROL_OFFSET, "")
        return int(offset) if offset.isdecimal() else None

    @property
    def plan_offset(self) -> int | None:
        """The control record as of which the node routed the request."""
        offset = self.headers.get(AnswerHeader.PLAN_OFFSET, "")
        return int(offset) if offset.isdecimal() else None

    @property
    def routed_by(self) -> str | None:
        """What led to the version: `version`, `label`, `split`, `standby` or `latest`."""
        return self.headers.get(AnswerHeader.ROUTED_BY)

    @property
    def arm(self) -> str | None:
        """The arm of the traffic split that led to the version, if one did."""
        return self.headers.get(AnswerHeader.ARM)

    @property
    def artifact_digest(self) -> str | None:
        """The digest of the model's bytes."""
        return self.headers.get(AnswerHeader.ARTIFACT_DIGEST)


def make_request(
    model: str,
    inputs: Inputs,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str = DEFAULT_SIGNATURE,
    output_filter: Sequence[str] = (),
) -> InferenceRequest:
    """Return the request for a model, by version, by label, or as the model's routing has it.

    Args:
        model: the model's name.
        inputs: arrays by input name, or what numpy makes arrays of.
        version: the version wanted.
        label: the label wanted, instead of a version.
        signature: the signature to call.
        output_filter: the outputs wanted; empty means all.

    Raises:
        ValueError: an input has no wire form, or both version and label are given.
    """
    if version is not None and label is not None:
        raise ValueError("give a version or a label, not both")
    return InferenceRequest(
        model=model,
        version=version,
        label=label,
        signature=signature,
        output_filter=output_filter,
        inputs=[to_tensor(name, array) for name, array in inputs.items()],
    )


def routing_headers(
    affinity: bytes | None, min_control_offset: int | None
) -> list[tuple[str, bytes]]:
    """Return the headers that say how a request is to be routed.

    Raises:
        InvalidArgument: the offset is none that the control log could have.
    """
    headers: list[tuple[str, bytes]] = []
    if affinity is not None:
        headers.append((RequestHeader.AFFINITY, affinity))
    if min_control_offset is not None:
        if min_control_offset < 0:
            raise InvalidArgument(
                f"min_control_offset is {min_control_offset}: give the control offset that a "
                "publisher returned, from 0"
            )
        headers.append((RequestHeader.MIN_CONTROL_OFFSET, b"%d" % min_control_offset))
    return headers


def encode_request(request: Request) -> bytes:
    """Return a request's bytes.

    Raises:
        InferenceFailed: INVALID_ARGUMENT, because it has no wire form.
    """
    try:
        if not isinstance(request, InferenceRequest):
            request = make_request(*request)
        return codec.encode(request)
    except (ValueError, TypeError) as error:
        raise InferenceFailed("INVALID_ARGUMENT", str(error)) from error


def read_answer(message: Message) -> Inference | InferenceFailed:
    """Return what an answer record says, whatever it says."""
    if message.value is None:
        return InferenceFailed("INTERNAL", "the answer is empty")
    try:
        response = codec.decode(message.value, InferenceResponse)
        if response.error is not None:
            return InferenceFailed(response.error.code, response.error.message)
        outputs = {tensor.name: from_tensor(tensor) for tensor in response.outputs}
    except WireError as error:
        return InferenceFailed("INTERNAL", f"the answer cannot be read: {error}")
    headers = {name: value.decode(errors="replace") for name, value in message.headers}
    return Inference(outputs, response.model, response.version, response.signature, headers)
