"""Claims: one form, both ways, and every other form refused in words."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.schemas.claims import MAX_CLAIM_BYTES, Claim
from headrace.schemas.errors import TooLarge, Undecodable, Unencodable, WireError

DIGEST = "sha256:" + "ab" * 32
FIELDS: dict[str, object] = {"uri": "s3://b/x", "digest": DIGEST, "size_bytes": 5}


@pytest.mark.parametrize("content_type", [None, "application/json", "a/b; q=1"])
def test_comes_back_as_it_went(content_type: str | None) -> None:
    """A claim's bytes say the same claim."""
    claim = Claim(uri="s3://b/ü", digest=DIGEST, size_bytes=2**40, content_type=content_type)
    assert Claim.decode(claim.encode()) == claim


def test_is_the_json_that_is_documented() -> None:
    """Others may write claims, too."""
    claim = Claim(uri="s3://b/x", digest=DIGEST, size_bytes=5, content_type="application/json")
    assert json.loads(claim.encode()) == FIELDS | {"content-type": "application/json"}
    assert json.loads(Claim(uri="s3://b/x", digest=DIGEST, size_bytes=5).encode()) == FIELDS


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"uri": ""}, "uri is ''"),
        ({"uri": "s3://b/x y"}, "no spaces"),
        ({"uri": "s3://b/\n"}, "uri is"),
        ({"uri": 5}, "must be strings"),
        ({"digest": "ab" * 32}, "expected sha256:"),
        ({"digest": DIGEST.upper()}, "expected sha256:"),
        ({"digest": DIGEST + "\n"}, "expected sha256:"),
        ({"size_bytes": 0}, "1 or more"),
        ({"size_bytes": -1}, "1 or more"),
        ({"size_bytes": 2**63}, "1 or more"),
        ({"size_bytes": 5.0}, "whole number"),
        ({"size_bytes": "5"}, "whole number"),
        ({"size_bytes": True}, "whole number"),
        ({"content-type": None}, "expected a string"),
        ({"content-type": ""}, "media type"),
        ({"content-type": "application/vnd.headrace.claim"}, "leads to a request"),
        ({"extra": 1}, "unexpected: extra"),
    ],
)
def test_refuses_what_is_not_exactly_a_claim(changed: dict[str, object], words: str) -> None:
    """The field is named, and what was expected of it."""
    with pytest.raises(Undecodable, match=words):
        Claim.decode(json.dumps(FIELDS | changed).encode())


@pytest.mark.parametrize("field", FIELDS)
def test_names_what_is_missing(field: str) -> None:
    """All three are needed."""
    with pytest.raises(Undecodable, match=f"missing: {field}"):
        Claim.decode(json.dumps({k: v for k, v in FIELDS.items() if k != field}).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"uri"',
        b"{",
        b"\xff",
        b"[" * 8000,
        b'{"size_bytes":' + b"9" * 5000 + b"}",
        json.dumps(FIELDS).encode()[:-1] + b',"uri":"s3://b/y"}',
    ],
)
def test_refuses_what_is_no_object(data: bytes) -> None:
    """Also JSON that is meant to break its reader, and a field that is there twice."""
    with pytest.raises(Undecodable, match="not a claim"):
        Claim.decode(data)


def test_bounds_what_is_read_and_written() -> None:
    """A claim is small; what is not need not be parsed."""
    with pytest.raises(TooLarge, match=str(MAX_CLAIM_BYTES)):
        Claim.decode(b" " * (MAX_CLAIM_BYTES + 1))
    with pytest.raises(Unencodable, match="at most"):
        Claim(uri="ü" * 4096, digest=DIGEST, size_bytes=1).encode()
    with pytest.raises(Unencodable, match="UTF-8"):
        Claim(uri="s3://\ud800", digest=DIGEST, size_bytes=1).encode()


@given(st.binary(max_size=200) | st.from_type(dict[str, int]).map(lambda d: json.dumps(d).encode()))
def test_whatever_is_read_is_a_claim_or_a_wire_error(data: bytes) -> None:
    """Nothing else comes out of it."""
    with contextlib.suppress(WireError):
        Claim.decode(data)
