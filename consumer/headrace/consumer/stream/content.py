"""Content types (to be replaced at merge)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceError, InferenceResponse, Route
from headrace.schemas.routes import read_route


@dataclass(frozen=True, slots=True)
class Content:
    encoding: Encoding
    answer_type: bytes | None

    def read_route(self, value: bytes, headers: Mapping[str, bytes | None]) -> Route:
        return read_route(value)

    def encode_error(
        self, code: Code, message: str, model: str, version: int | None
    ) -> tuple[bytes, bytes | None]:
        error = InferenceError(code=code.name, message=message)
        return encode(InferenceResponse(model=model, version=version, error=error)), None


AVRO = Content(Encoding.AVRO, None)


def content_of(raw: bytes | None) -> Content:
    return AVRO
