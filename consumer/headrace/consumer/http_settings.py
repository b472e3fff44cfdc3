"""The bounds of the HTTP port: one group of settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

_Seconds = Annotated[float, Field(gt=0)]


class HttpSettings(BaseModel):
    """How much, and how slow, clients of the HTTP port may be."""

    http_max_requests: Annotated[int, Field(gt=0)] = Field(
        1024, description="requests inside the HTTP port before it refuses more"
    )
    http_transfer_timeout_seconds: _Seconds = Field(
        30.0, description="longest that the body of an HTTP request, or its answer, may take"
    )
    http_idle_timeout_seconds: _Seconds = Field(
        75.0, description="longest wait for the next request of an HTTP connection"
    )
    http_cors_origin: str = Field(
        "", description="origin of pages that browsers let read answers over HTTP; * is every page"
    )
