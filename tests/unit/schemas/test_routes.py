"""The route of a request is what decoding the whole request would find."""

from __future__ import annotations

from io import BytesIO
from typing import Final

import pytest
from fastavro import (
    parse_schema,
    schemaless_writer,  # pyright: ignore[reportUnknownVariableType]
)
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.schemas import routes
from headrace.schemas.codec import decode, encode, fingerprint_of
from headrace.schemas.errors import UnknownFingerprint, WireError
from headrace.schemas.records import InferenceRequest, ModelConfig, Route, Tensor
from headrace.schemas.routes import RouteReader, read_route
from headrace.schemas.writer_schemas import WriterSchemas, load_current

HEADER: Final = fingerprint_of(InferenceRequest)
# Names around the sizes at which their length takes another byte.
NAME: Final = st.one_of(
    st.text(max_size=20),
    st.text("ab", min_size=62, max_size=66),
    st.sampled_from(["x" * 8191, "x" * 8192, "ü" * 4096]),
)
REQUEST: Final = st.builds(
    InferenceRequest,
    model=NAME,
    version=st.none() | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**62, 2**63 - 1]),
    label=st.none() | NAME,
    signature=st.text(max_size=5),
    inputs=st.sampled_from([(), (Tensor(name="x", dtype="int8", shape=(1,), data=b"\x07"),)]),
)


def _route_of(request: InferenceRequest) -> Route:
    return Route(request.model, request.version, request.label)


@settings(deadline=None, max_examples=300)
@given(REQUEST)
def test_reads_what_the_full_decode_says(request: InferenceRequest) -> None:
    """Any request has its own route, on the first reading and from the cache."""
    reader = RouteReader()
    value = encode(request)
    assert reader.read(value) == reader.read(value) == read_route(value) == _route_of(request)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
def test_agrees_with_the_full_decode_on_garbage(garbage: bytes) -> None:
    """Bytes that decode, however odd, have the route that decoding finds; others raise or route."""
    value = HEADER + garbage
    try:
        request = decode(value, InferenceRequest)
    except WireError:
        request = None
    try:
        route = read_route(value)
    except WireError:
        route = None
    assert request is None or route == _route_of(request)


@settings(deadline=None, max_examples=100)
@given(REQUEST.filter(lambda request: len(request.model) < 100))
def test_cut_or_foreign_values_raise_nothing_but_wire_errors(request: InferenceRequest) -> None:
    """A value cut within its route is refused; one cut behind it still has its route."""
    value = encode(request)
    rest = encode(InferenceRequest(model="", signature=request.signature, inputs=request.inputs))
    end_of_route = len(value) - (len(rest) - len(HEADER) - 3)
    for size in range(min(len(value), 200)):
        if size < end_of_route:
            with pytest.raises(WireError):
                read_route(value[:size])
        else:
            assert read_route(value[:size]) == _route_of(request)
    for foreign in (value[1:], b"{}", encode(ModelConfig(model="m"))):
        with pytest.raises(WireError):
            read_route(foreign)


def test_names_the_bytes_that_were_there() -> None:
    """The text about a cut value speaks of the value, not of what the reader made of it."""
    value = encode(InferenceRequest(model="ranker", label="stable"))[:22]
    with pytest.raises(WireError, match="cut short: its 22 bytes"):
        read_route(value)


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"\x01", id="negative length"),
        pytest.param(b"\xff" * 5_000_000, id="length without end"),
        pytest.param(b"\x02m\x02" + b"\x80" * 5_000_000, id="version without end"),
        pytest.param(b"\x02m\x04\x00", id="branch that is none"),
        pytest.param(b"\x02\xff\x00\x00\x00\x00\x00", id="not UTF-8"),
        pytest.param(b"\xfe\xff\xff\xff\x0fm", id="length beyond the end"),
    ],
)
def test_refuses_impossible_beginnings(beginning: bytes) -> None:
    """Lies in the first bytes end in a WireError."""
    with pytest.raises(WireError):
        read_route(HEADER + beginning)


@pytest.mark.parametrize(
    "value",
    [
        # Avro readers agree on these although no writer makes them.
        pytest.param(HEADER + b"\x82\x00m\x00\x00" + b"\x00\x00\x00", id="length in two bytes"),
        pytest.param(HEADER + b"\x02m\x02\x86\x80\x00\x00" + b"\x00\x00\x00", id="long version"),
    ],
)
def test_reads_unusual_encodings_like_the_full_decode(value: bytes) -> None:
    """Numbers with needless bytes mean what they mean to the codec."""
    assert read_route(value) == _route_of(decode(value, InferenceRequest))


def test_reads_requests_of_other_known_schemas() -> None:
    """A request written with a registered schema of tomorrow is decoded whole for its route."""
    schema = load_current("InferenceRequest")
    schema["fields"].append({"name": "comment", "type": "string", "default": ""})
    writers = WriterSchemas()
    header = writers.register(schema)
    value = header + _written(schema)
    assert RouteReader(writers).read(value) == Route("ranker", None, "stable")
    with pytest.raises(WireError):
        RouteReader(writers).read(value, max_bytes=len(value) - 1)
    with pytest.raises(UnknownFingerprint):
        read_route(value)


def test_cache_is_bounded() -> None:
    """However many routes and however long, what is remembered stays within its limits."""
    reader = RouteReader()
    for number in range(routes.MAX_CACHED_ROUTES * 2 + 10):
        assert reader.read(encode(InferenceRequest(model=f"m{number}"))).model == f"m{number}"
        assert reader.remembered <= routes.MAX_CACHED_ROUTES
    kept = reader.remembered
    reader.read(encode(InferenceRequest(model="x" * 2000)))
    assert reader.remembered == kept


def _written(schema: dict[str, object]) -> bytes:
    """Return a datum of a schema that has the fields of today's request, and a comment."""
    out = BytesIO()
    datum = {"model": "ranker", "version": None, "label": "stable", "comment": "new here"}
    schemaless_writer(out, parse_schema(schema), datum)
    return out.getvalue()
