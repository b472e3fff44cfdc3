"""Whatever a request record holds, the Kafka door has a route for it or a fault, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.stream.content import content_of
from headrace.consumer.stream.requests import Requests
from headrace.schemas.claims import Claim
from headrace.schemas.errors import WireError
from tests.fuzz import hostile
from tests.fuzz.bounds import counted, readable
from tests.fuzz.conftest import FUZZ


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    with counted():
        yield


predicts = hostile.hostile(Encoding.TENSORFLOW_SERVING)
infers = hostile.hostile(Encoding.OPEN_INFERENCE)


class Record(NamedTuple):
    """What the Kafka door sees of a record."""

    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    key: bytes | None = None
    offset: int = 7
    timestamp: int = 0


CONTENT_TYPES = (
    *(b"application/json", b"application/x-protobuf;proto=inference.ModelInferRequest"),
    *(b'application/x-protobuf; proto="tensorflow.serving.PredictRequest"', b"avro/binary"),
    *(b"application/vnd.headrace.claim", b"application/x-protobuf", b"", b"\xff;=;=", b"a" * 600),
)
header_values = st.one_of(
    st.none(),
    st.binary(max_size=8),
    st.sampled_from([b"9" * 5000, b"1e5", b" 12 ", b"-1", b"\xd9\xa1", b"99999999999999999999"]),
    st.sampled_from(CONTENT_TYPES),
)
header_names = st.sampled_from(
    [
        *("correlation-id", "reply-topic", "deadline-ms", "affinity", "traceparent"),
        *("content-type", "model", "version", "label", "", "é"),
    ]
)
values = st.one_of(
    st.none(),
    predicts,
    infers,
    hostile.hostile(Encoding.AVRO),
    hostile.hostile(Encoding.TENSORFLOW_JSON),
)


@FUZZ
@given(
    st.lists(
        st.builds(
            Record, values, st.lists(st.tuples(header_names, header_values), max_size=5).map(tuple)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_request_record_has_a_route_or_a_fault(taken: list[Record]) -> None:
    """Each record of a partition is in one group, or refused with a code, or a claim."""
    messages: Any = taken
    requests = Requests(messages, default_deadline_seconds=1.0)
    groups = requests.groups()
    grouped = [index for members in groups.values() for index in members]
    assert sorted([*grouped, *requests.faults, *set(requests.claims) - requests.faults.keys()]) == (
        list(range(len(taken)))
    )
    for fault in requests.faults.values():
        assert fault.code in {Code.INVALID_ARGUMENT, Code.DEADLINE_EXCEEDED}
        assert fault.message.encode()
    for index in range(len(taken)):
        requests.is_addressable(index)
        content = requests.contents[index]
        assert content.encode_error(Code.INTERNAL, "é", "m", None).value is not None


@FUZZ
@given(st.binary(max_size=600) | st.sampled_from(CONTENT_TYPES))
def test_a_content_type_is_known_or_named(header: bytes) -> None:
    """Any content type is one that is served, or refused in words."""
    readable(content_of, header, WireError)


@FUZZ
@given(st.one_of(hostile.STRUCTURED[Encoding.TENSORFLOW_JSON], st.binary(max_size=64)))
def test_a_claim_is_one_or_not(data: bytes) -> None:
    """Any bytes are a claim or refused."""
    readable(Claim.decode, data, WireError)
