"""The one table of codes and HTTP statuses."""

from __future__ import annotations

import json

import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.web.errors import HTTP_STATUS, failure

UPSTREAM = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


def test_every_code_has_the_status_that_tensorflow_serving_gives_it() -> None:
    """Its table, as of 2.20."""
    assert dict(HTTP_STATUS) == UPSTREAM
    assert set(UPSTREAM) == set(Code)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_failure_says_what_happened(code: Code) -> None:
    """In JSON; a failure as such says nothing of coming back."""
    answer = failure(code, 'it "failed"')
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {"error": 'it "failed"'}
    assert "Retry-After" not in answer.headers
