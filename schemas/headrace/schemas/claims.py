"""Claims: request values that say where the payload lies, for payloads too large for a topic.

A claim is a small JSON object. Fetching what it names is the node's business, writing it the
publisher's; this module owns the form alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, cast

from headrace.schemas.errors import TooLarge, Undecodable, Unencodable

CLAIM_CONTENT_TYPE: Final = "application/vnd.headrace.claim"
"""The `content-type` header of a record whose value is a claim."""
MAX_CLAIM_BYTES: Final = 8192
MAX_PAYLOAD_BYTES: Final = 2**63 - 1

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_URI: Final = re.compile(r"[^\x00-\x20\x7f]{1,4096}")
_CONTENT_TYPE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_REQUIRED: Final = frozenset({"uri", "digest", "size_bytes"})
_PAYLOAD_TYPE: Final = "content-type"
_ALLOWED: Final = _REQUIRED | {_PAYLOAD_TYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Where a request's payload lies, and how to know that it is the one.

    `digest` is `sha256:<hex>` of the payload, `content_type` what it is, None for our Avro.

    Raises:
        ValueError: a field holds what it cannot.
    """

    uri: str
    digest: str
    size_bytes: int
    content_type: str | None = None

    def __post_init__(self) -> None:
        """Check every field, so that a claim that exists is one that can be followed."""
        if _URI.fullmatch(self.uri) is None:
            raise ValueError(f"uri is {self.uri!r:.80}; expected 1 to 4096 characters, no spaces")
        if _DIGEST.fullmatch(self.digest) is None:
            raise ValueError(f"digest is {self.digest!r:.80}; expected sha256: and 64 hex digits")
        if not 0 < self.size_bytes <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"size_bytes is {self.size_bytes!r:.40}; expected 1 or more")
        if self.content_type is None:
            return
        if _CONTENT_TYPE.fullmatch(self.content_type) is None:
            raise ValueError(f"{_PAYLOAD_TYPE} is {self.content_type!r:.80}; expected a media type")
        if self.content_type == CLAIM_CONTENT_TYPE:
            raise ValueError(f"{_PAYLOAD_TYPE} is a claim's; a claim leads to a request")

    def encode(self) -> bytes:
        """Return the value of a record that carries the claim.

        Raises:
            Unencodable: the URI is not UTF-8, or so long that no reader would take the claim.
        """
        fields: dict[str, str | int] = {
            "uri": self.uri,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
        }
        if self.content_type is not None:
            fields[_PAYLOAD_TYPE] = self.content_type
        try:
            data = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Unencodable(f"the claim's uri {self.uri!r:.80} is not UTF-8") from error
        if len(data) > MAX_CLAIM_BYTES:
            raise Unencodable(f"a claim of {len(data)} bytes; at most {MAX_CLAIM_BYTES}")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Claim:
        """Return the claim that a record's value holds.

        Raises:
            TooLarge: there are more bytes than a claim may have.
            Undecodable: it is no JSON object, or not exactly a claim's.
        """
        if len(data) > MAX_CLAIM_BYTES:
            raise TooLarge(f"a claim of {len(data)} bytes; at most {MAX_CLAIM_BYTES}")
        try:
            return _claim(json.loads(data.decode(), object_pairs_hook=_object))
        except (ValueError, TypeError, RecursionError) as error:
            raise Undecodable(f"not a claim: {error}") from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; two fields of one name could be read as either."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _claim(value: object) -> Claim:
    if not isinstance(value, dict):
        raise TypeError("expected a JSON object with uri, digest and size_bytes")
    fields = cast("dict[str, object]", value)
    missing, unknown = _REQUIRED - fields.keys(), fields.keys() - _ALLOWED
    if missing or unknown:
        raise ValueError(
            f"missing: {', '.join(sorted(missing)) or 'nothing'}; "
            f"unexpected: {', '.join(sorted(unknown)) or 'nothing':.200}"
        )
    uri, digest = fields["uri"], fields["digest"]
    size_bytes, content_type = fields["size_bytes"], fields.get(_PAYLOAD_TYPE)
    # A bool is an int to Python, and JSON's true is no size.
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool):
        raise TypeError(f"size_bytes is {size_bytes!r:.40}; expected a whole number")
    if not isinstance(uri, str) or not isinstance(digest, str):
        raise TypeError("uri and digest must be strings")
    if _PAYLOAD_TYPE not in fields:
        return Claim(uri=uri, digest=digest, size_bytes=size_bytes)
    if not isinstance(content_type, str):
        raise TypeError(f"{_PAYLOAD_TYPE} is {content_type!r:.40}; expected a string")
    return Claim(uri=uri, digest=digest, size_bytes=size_bytes, content_type=content_type)
