"""The node's settings of mirrored requests: one group of settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from headrace.schemas.topics import Topics

_Positive = Annotated[int, Field(gt=0)]


class ShadowSettings(BaseModel):
    """Where comparisons go, and what a node spends on requests that it mirrors."""

    shadow_topic: str = Field(
        Topics().shadow, description="topic of how answers of shadows compare"
    )
    shadow_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0, description="deadline of a mirrored request"
    )
    shadow_max_calls: _Positive = Field(
        2048, description="requests of a model that may wait to be mirrored; more are left out"
    )
    shadow_max_bytes: _Positive = Field(
        64 * 2**20, description="what these and their answers may take, for each model"
    )
