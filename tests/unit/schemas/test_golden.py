"""Bytes written by today's schemas, kept under `tests/golden/`, stay readable for ever.

`records-1.json` holds what `EXAMPLES` was encoded to when the format was first fixed. It is never
rewritten. When a schema changes, its old file moves to `history/`, the pins below change, and
`python tests/unit/schemas/test_golden.py 2` writes `records-2.json` beside the old one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import pytest

from headrace.schemas.codec import decode, encode, fingerprint_of
from headrace.schemas.comparison import Agreement, Answered, Difference, ShadowComparison
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

GOLDEN: Final = Path(__file__).parents[2] / "golden"
NEWEST: Final = "records-4.json"

FINGERPRINTS: Final[dict[type[Record], str]] = {
    ModelVersion: "d2c4e4c1159dc8e7",
    ModelConfig: "a11189625d11c54f",
    NodeStatus: "7dceaaca8bc25b6c",
    InferenceRequest: "454e5799697a9158",
    InferenceResponse: "a084facc1582b146",
    ShadowComparison: "a6d9ebb398f9efbb",
}


def _golden(file: str) -> dict[str, bytes]:
    """Return the golden bytes of one file by the name of their example."""
    loaded: dict[str, str] = json.loads((GOLDEN / file).read_text())
    return {name: bytes.fromhex(data) for name, data in loaded.items()}


TENSORS: Final = (
    Tensor(name="x", dtype="float32", shape=(1, 2), data=b"\x00\x00\x80\x3f\x00\x00\x00\xc0"),
    Tensor(name="words", dtype="string", shape=(2,), strings=(b"head", "ræce\x00".encode())),
    Tensor(name="empty", dtype="int64", shape=(0, 3)),
    Tensor(name="scalar", dtype="bool", shape=(), data=b"\x01"),
)
EXAMPLES: Final[dict[str, Record]] = {
    "ModelVersion full": ModelVersion(
        model="ranker",
        version=2**63 - 1,
        platform="other",
        uri="s3://models/ranker/42",
        digest=f"sha256:{'0123456789abcdef' * 4}",
        size_bytes=123_456_789,
        signatures=("serving_default", "score"),
        lifecycle=Lifecycle.RETIRED,
        publisher="nightly@trainer-7",
        created_at_ms=1_764_000_000_000,
        metadata={"auc": "0.91", "größe": "klein"},
    ),
    "ModelVersion checked": ModelVersion(
        model="ranker",
        version=43,
        uri="/m/43",
        digest=f"sha256:{'0123456789abcdef' * 4}",
        size_bytes=5,
        interface=(
            SignatureSpec(
                name="serving_default",
                inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 3)),),
                outputs=(TensorSpec(name="y", dtype="string"),),
            ),
        ),
        validation=Validation(examples=7, compared_with=42, is_compatible=False),
    ),
    "ModelVersion optional": ModelVersion(
        model="ranker",
        version=44,
        uri="/m/44",
        digest="sha256:0",
        size_bytes=5,
        interface=(
            SignatureSpec(
                name="score",
                inputs=(TensorSpec(name="bias", dtype="float32", shape=(), is_optional=True),),
            ),
        ),
    ),
    "ModelVersion least": ModelVersion(
        model="m", version=1, uri="/m/1", digest="sha256:0", size_bytes=0
    ),
    "ModelConfig full": ModelConfig(
        model="ranker",
        policy=VersionPolicy(kind=PolicyKind.SPECIFIC, latest=2, versions=(41, 42)),
        preserving=Preserving.RESOURCE,
        labels={"stable": 41, "canary": 42},
        split={"stable": 95, "canary": 5},
        batching=Batching(max_rows=64, timeout_micros=500),
    ),
    "ModelConfig batching": ModelConfig(
        model="m",
        batching=Batching(
            max_rows=32,
            allowed_rows=(1, 8, 32),
            pads_variable_length=True,
            large_requests=LargeRequests.SPLIT,
        ),
        replicas=3,
    ),
    "ModelConfig experiment": ModelConfig(
        model="ranker",
        labels={"stable": 41},
        split={"stable": 95, "ranker-dnn@canary": 5},
        cohorts=(Cohort(arm="stable", buckets=9500), Cohort(arm="ranker-dnn@canary", buckets=500)),
        shadow=Shadow(
            target="ranker-dnn",
            fraction=0.25,
            tolerances={"": Tolerance(absolute=0.5, relative=0.1)},
        ),
        previous=(
            Earlier(
                versions=(40,),
                policy=VersionPolicy(kind=PolicyKind.ALL),
                labels={"stable": 40},
                split={"stable": 1},
                cohorts=(Cohort(arm="stable", buckets=10_000),),
            ),
        ),
    ),
    "ShadowComparison full": ShadowComparison(
        model="ranker",
        node="node-a",
        at_ms=1_764_000_000_000,
        primary=Answered(
            model="ranker",
            version=41,
            control_offset=10,
            digest="sha256:0",
            arm="stable",
            latency_micros=900,
        ),
        shadow=Answered(
            model="ranker-dnn", version=3, error_code="INTERNAL", error="the model raised"
        ),
        agreement=Agreement.FAILED,
        differences=(
            Difference(
                output="y", elements=4, differing=2, max_absolute=0.5, reason="shapes differ"
            ),
        ),
        missed=3,
    ),
    "ModelConfig least": ModelConfig(model="m"),
    "ModelConfig all": ModelConfig(model="m", policy=VersionPolicy(kind=PolicyKind.ALL)),
    "NodeStatus full": NodeStatus(
        node="node-a",
        incarnation=7,
        at_ms=1_764_000_000_000,
        control_offset=12,
        is_ready=True,
        heartbeat_interval_ms=500,
        grpc_endpoint="localhost:8500",
        http_endpoint="localhost:8501",
        control_errors=("offset 11: not a record",),
        servable=ServableStatus(
            model="ranker",
            version=42,
            state=ServableState.END,
            control_offset=10,
            attempt=3,
            error="the artefact's digest differs",
        ),
    ),
    "NodeStatus least": NodeStatus(node="n", incarnation=1, at_ms=0, control_offset=-1),
    **{
        f"NodeStatus {state}": NodeStatus(
            node="n",
            incarnation=1,
            at_ms=1,
            control_offset=0,
            servable=ServableStatus(model="m", version=1, state=state, control_offset=0),
        )
        for state in ServableState
    },
    "InferenceRequest full": InferenceRequest(
        model="ranker",
        version=42,
        label="stable",
        signature="score",
        output_filter=("scores",),
        inputs=TENSORS,
    ),
    "InferenceRequest least": InferenceRequest(model="m"),
    "InferenceResponse full": InferenceResponse(
        model="ranker", version=42, signature="score", outputs=TENSORS
    ),
    "InferenceResponse error": InferenceResponse(
        model="m", error=InferenceError(code="NOT_FOUND", message="Servable not found")
    ),
}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (path.name, name)
        for path in sorted(GOLDEN.glob("records-*.json"))
        for name in _golden(path.name)
    ],
)
def test_golden_bytes_read_as_they_were_meant(file: str, name: str) -> None:
    """Bytes of every schema that was ever in use decode to exactly the record they were made of."""
    record = EXAMPLES[name]
    assert decode(_golden(file)[name], type(record)) == record


@pytest.mark.parametrize("name", EXAMPLES)
def test_writer_makes_the_newest_golden_bytes(name: str) -> None:
    """The bytes of a record do not depend on the release of the program or of fastavro."""
    assert encode(EXAMPLES[name]).hex() == _golden(NEWEST)[name].hex()


@pytest.mark.parametrize("record_type", FINGERPRINTS)
def test_schemas_never_change_silently(record_type: type[Record]) -> None:
    """A changed `.avsc` has another fingerprint: read the module's docstring before the pin."""
    assert fingerprint_of(record_type).hex() == f"c301{FINGERPRINTS[record_type]}"


def test_golden_files_hold_an_example_of_every_record() -> None:
    """No record escapes the promise, and no example is left over."""
    assert {type(record) for record in EXAMPLES.values()} == set(FINGERPRINTS)
    assert set(_golden(NEWEST)) == set(EXAMPLES)


if __name__ == "__main__":
    target = GOLDEN / f"records-{int(sys.argv[1])}.json"
    encoded = {name: encode(record).hex() for name, record in EXAMPLES.items()}
    # Golden bytes are never rewritten: "x" refuses a file that is there.
    with target.open("x") as stream:
        stream.write(json.dumps(encoded, indent=2) + "\n")
