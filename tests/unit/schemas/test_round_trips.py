"""Any record survives its encoding, and no other bytes pass for one."""

from __future__ import annotations

import contextlib
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.schemas.codec import decode, encode, fingerprint_of
from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison
from headrace.schemas.errors import Undecodable, WireError
from headrace.schemas.records import (
    Batching,
    Cohort,
    Earlier,
    InferenceError,
    InferenceRequest,
    InferenceResponse,
    LargeRequests,
    Lifecycle,
    ModelConfig,
    ModelVersion,
    NodeStatus,
    PolicyKind,
    Preserving,
    Record,
    ServableState,
    ServableStatus,
    Shadow,
    SignatureSpec,
    Tensor,
    TensorSpec,
    Tolerance,
    Validation,
    VersionPolicy,
)

LONG: Final = st.integers(-(2**63), 2**63 - 1)
TEXT: Final = st.text(max_size=20)
TEXTS: Final = st.lists(TEXT, max_size=4).map(tuple)
TENSOR: Final = st.builds(
    Tensor,
    name=TEXT,
    dtype=TEXT,
    shape=st.lists(LONG, max_size=4).map(tuple),
    data=st.binary(max_size=64),
    strings=st.lists(st.binary(max_size=8), max_size=4).map(tuple),
)
TENSORS: Final = st.lists(TENSOR, max_size=3).map(tuple)
REAL: Final = st.floats(allow_nan=False)
POLICY: Final = st.builds(
    VersionPolicy,
    kind=st.sampled_from(PolicyKind),
    latest=LONG,
    versions=st.lists(LONG, max_size=4).map(tuple),
)
COHORTS: Final = st.lists(st.builds(Cohort, arm=TEXT, buckets=LONG), max_size=4).map(tuple)
SPECS: Final = st.lists(
    st.builds(
        TensorSpec,
        name=TEXT,
        dtype=TEXT,
        shape=st.none() | st.lists(LONG, max_size=4).map(tuple),
        is_optional=st.booleans(),
    ),
    max_size=3,
).map(tuple)
ANSWERED: Final = st.builds(
    Answered,
    model=TEXT,
    version=LONG,
    control_offset=LONG,
    digest=TEXT,
    arm=TEXT,
    latency_micros=LONG,
    error_code=TEXT,
    error=TEXT,
)
RECORDS: Final[dict[type[Record], st.SearchStrategy[Record]]] = {
    ModelVersion: st.builds(
        ModelVersion,
        model=TEXT,
        version=LONG,
        platform=TEXT,
        uri=TEXT,
        digest=TEXT,
        size_bytes=LONG,
        signatures=TEXTS,
        lifecycle=st.sampled_from(Lifecycle),
        publisher=TEXT,
        created_at_ms=LONG,
        metadata=st.dictionaries(TEXT, TEXT, max_size=4),
        interface=st.lists(
            st.builds(SignatureSpec, name=TEXT, inputs=SPECS, outputs=SPECS), max_size=3
        ).map(tuple),
        validation=st.none()
        | st.builds(
            Validation, examples=LONG, compared_with=st.none() | LONG, is_compatible=st.booleans()
        ),
    ),
    ModelConfig: st.builds(
        ModelConfig,
        model=TEXT,
        policy=POLICY,
        preserving=st.sampled_from(Preserving),
        labels=st.dictionaries(TEXT, LONG, max_size=4),
        split=st.dictionaries(TEXT, LONG, max_size=4),
        batching=st.builds(
            Batching,
            max_rows=LONG,
            timeout_micros=LONG,
            allowed_rows=st.lists(LONG, max_size=4).map(tuple),
            pads_variable_length=st.booleans(),
            large_requests=st.sampled_from(LargeRequests),
        ),
        replicas=LONG,
        cohorts=COHORTS,
        shadow=st.none()
        | st.builds(
            Shadow,
            target=TEXT,
            fraction=REAL,
            tolerances=st.dictionaries(
                TEXT, st.builds(Tolerance, absolute=REAL, relative=REAL), max_size=3
            ),
        ),
        previous=st.lists(
            st.builds(
                Earlier,
                versions=st.lists(LONG, max_size=4).map(tuple),
                policy=POLICY,
                labels=st.dictionaries(TEXT, LONG, max_size=4),
                split=st.dictionaries(TEXT, LONG, max_size=4),
                cohorts=COHORTS,
            ),
            max_size=3,
        ).map(tuple),
    ),
    ShadowComparison: st.builds(
        ShadowComparison,
        model=TEXT,
        node=TEXT,
        at_ms=LONG,
        primary=ANSWERED,
        shadow=ANSWERED,
        agreement=st.sampled_from(Agreement),
        differences=st.lists(
            st.builds(
                Difference,
                output=TEXT,
                elements=LONG,
                differing=LONG,
                max_absolute=REAL,
                reason=TEXT,
            ),
            max_size=3,
        ).map(tuple),
        missed=LONG,
    ),
    NodeStatus: st.builds(
        NodeStatus,
        node=TEXT,
        incarnation=LONG,
        at_ms=LONG,
        control_offset=LONG,
        is_ready=st.booleans(),
        heartbeat_interval_ms=LONG,
        grpc_endpoint=TEXT,
        http_endpoint=TEXT,
        control_errors=TEXTS,
        servable=st.none()
        | st.builds(
            ServableStatus,
            model=TEXT,
            version=LONG,
            state=st.sampled_from(ServableState),
            control_offset=LONG,
            attempt=LONG,
            error=st.none() | TEXT,
        ),
    ),
    InferenceRequest: st.builds(
        InferenceRequest,
        model=TEXT,
        version=st.none() | LONG,
        label=st.none() | TEXT,
        signature=TEXT,
        output_filter=TEXTS,
        inputs=TENSORS,
    ),
    InferenceResponse: st.builds(
        InferenceResponse,
        model=TEXT,
        version=st.none() | LONG,
        signature=TEXT,
        outputs=TENSORS,
        error=st.none() | st.builds(InferenceError, code=TEXT, message=TEXT),
    ),
}
TYPES: Final = list(RECORDS)
RECORD: Final = st.one_of(*RECORDS.values())


@settings(deadline=None, max_examples=300)
@given(RECORD)
def test_decodes_what_it_encoded(record: Record) -> None:
    """Any record comes back equal, whatever its fields hold."""
    assert decode(encode(record), type(record)) == record


@settings(deadline=None, max_examples=50)
@given(RECORD)
def test_refuses_a_record_cut_at_any_byte(record: Record) -> None:
    """No proper beginning of a record passes for a record."""
    data = encode(record)
    for size in range(len(data)):
        with pytest.raises(Undecodable):
            decode(data[:size], type(record))


@settings(deadline=None, max_examples=50)
@given(RECORD, st.binary(min_size=1, max_size=8))
def test_refuses_bytes_after_the_record(record: Record, more: bytes) -> None:
    """What follows a record was not meant, so nothing is ignored."""
    with pytest.raises(Undecodable, match="ends at byte"):
        decode(encode(record) + more, type(record))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(TYPES), st.binary(max_size=200), st.booleans())
def test_garbage_raises_nothing_but_wire_errors(
    record_type: type[Record], garbage: bytes, has_header: bool
) -> None:
    """Random bytes, with and without a right header, are refused in our own words or decode."""
    data = fingerprint_of(record_type) + garbage if has_header else garbage
    with contextlib.suppress(WireError):
        decode(data, record_type)


@settings(deadline=None, max_examples=300)
@given(RECORD, st.data())
def test_damage_raises_nothing_but_wire_errors(record: Record, data: st.DataObject) -> None:
    """A record with some bytes overwritten is refused in our own words, or decodes to another."""
    damaged = bytearray(encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        decode(bytes(damaged), type(record))
