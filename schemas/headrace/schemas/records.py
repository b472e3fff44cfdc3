"""The records that travel through Kafka, as plain frozen dataclasses.

Each class mirrors one `.avsc` file of this package, field for field and in the same order. This
module owns the shape and the limits of single fields; bytes are the codec's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from headrace.schemas.comparison import ShadowComparison

MAX_VERSION: Final = 2**63 - 1
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DEFAULT_SIGNATURE: Final = "serving_default"


class Lifecycle(StrEnum):
    """What the publisher wants of a version; whether a node serves it is the policy's choice."""

    PUBLISHED = "PUBLISHED"
    RETIRED = "RETIRED"


class PolicyKind(StrEnum):
    """Which published versions of a model are wanted: the latest N, named ones, or all."""

    LATEST = "LATEST"
    SPECIFIC = "SPECIFIC"
    ALL = "ALL"


class Preserving(StrEnum):
    """What a version change keeps: answers (load first) or memory (unload first)."""

    AVAILABILITY = "AVAILABILITY"
    RESOURCE = "RESOURCE"


class LargeRequests(StrEnum):
    """What becomes of a request of more rows than a batch may have.

    It runs as one batch of its own, as several whose outputs are joined, or not at all.
    """

    RUN_WHOLE = "RUN_WHOLE"
    SPLIT = "SPLIT"
    REFUSE = "REFUSE"


class ServableState(StrEnum):
    """The public states of one version on one node, as in TensorFlow Serving.

    Source: tensorflow_serving/apis/get_model_status.proto, 2.20.
    """

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output. A dimension of -1 is unknown; a shape of None has an unknown rank.

    `is_optional` marks an input that requests may leave out.
    """

    name: str
    dtype: str
    shape: Sequence[int] | None = None
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureSpec:
    """What one signature takes and gives."""

    name: str
    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What was checked before a version was published.

    `examples` counts the example requests that it answered as it should. `compared_with` is the
    version that its signatures were compared with; `is_compatible` is false when callers of that
    version may fail with this one, and the publisher allowed it.
    """

    examples: int
    compared_with: int | None = None
    is_compatible: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One published version of one model: key `version/<model>/<version>` on the control topic.

    `digest` is `sha256:<hex>` of the artefact's manifest (see `manifest`), `size_bytes` the sum of
    its files, `uri` the folder that holds the manifest. `created_at_ms` is epoch milliseconds of
    the publisher's clock and only informs: order is decided by the log. `interface` describes the
    signatures as far as the publisher could read them.
    """

    model: str
    version: int
    platform: str = "tensorflow"
    uri: str
    digest: str
    size_bytes: int
    signatures: Sequence[str] = ()
    lifecycle: Lifecycle = Lifecycle.PUBLISHED
    publisher: str = ""
    created_at_ms: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    interface: Sequence[SignatureSpec] = ()
    validation: Validation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy:
    """Which versions are wanted. `latest` counts for LATEST only, `versions` for SPECIFIC only."""

    kind: PolicyKind = PolicyKind.LATEST
    latest: int = 1
    versions: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How a worker joins requests. `max_rows = 1` never joins two requests.

    `timeout_micros` is how long a frame may wait for company while the worker is idle; the default
    of 0 batches only what queued while the worker was busy. `allowed_rows`, ascending to
    `max_rows`, are the only sizes that a joint run may have: it is filled up to the next one.
    """

    max_rows: int = 1024
    timeout_micros: int = 0
    allowed_rows: tuple[int, ...] = ()
    pads_variable_length: bool = False
    large_requests: LargeRequests = LargeRequests.RUN_WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Neighbouring buckets of keys that take one arm of a split; see `cohorts`."""

    arm: str
    buckets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far two numbers may lie apart and agree: by `absolute + relative * |primary|`."""

    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What else requests are sent to, so that the answers can be compared.

    `target` is written like an arm of a split, `fraction` is the share of the requests, above 0
    and up to 1. `tolerances` are by output; the empty name stands for every output that has none
    of its own.
    """

    target: str
    fraction: float = 1.0
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict[str, Tolerance])


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What was served before: the versions that were wanted, and what wanted and routed to them."""

    versions: Sequence[int]
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = field(default_factory=dict[str, int])
    split: Mapping[str, int] = field(default_factory=dict[str, int])
    cohorts: Sequence[Cohort] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """How one model is served: key `model/<model>` on the control topic.

    `labels` names versions; `split` gives integer weights to arms (see `arms`) and routes the
    requests that name neither version nor label; a name that has a split and no versions is an
    alias. `cohorts` say which keys take which arm. `replicas` are the worker processes that each
    version has on a node. `previous`, oldest first, is what a rollback goes back to.
    """

    model: str
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    preserving: Preserving = Preserving.AVAILABILITY
    labels: Mapping[str, int] = field(default_factory=dict[str, int])
    split: Mapping[str, int] = field(default_factory=dict[str, int])
    batching: Batching = field(default_factory=Batching)
    replicas: int = 1
    cohorts: Sequence[Cohort] = ()
    shadow: Shadow | None = None
    previous: Sequence[Earlier] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServableStatus:
    """The state of one version on one node.

    `control_offset` is the event that brought the version, `attempt` counts load attempts from 1,
    `error` is set on END after a failure and on LOADING while a failed attempt waits for the next.
    """

    model: str
    version: int
    state: ServableState
    control_offset: int
    attempt: int = 1
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What a node says of itself on the status topic.

    With `servable`, a transition of that version, key `<node>/<model>/<version>`; without, a
    heartbeat, key `<node>`. Records of an earlier `incarnation` of the node are void.
    `control_offset` is the last control record that the node has applied (-1: none): every
    version status that follows from it precedes the heartbeat in the log. `control_errors` are the
    latest control records that could not be applied, in words.
    """

    node: str
    incarnation: int
    at_ms: int
    control_offset: int
    is_ready: bool = False
    heartbeat_interval_ms: int = 2000
    grpc_endpoint: str = ""
    http_endpoint: str = ""
    control_errors: Sequence[str] = ()
    servable: ServableStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A named tensor on the wire.

    `dtype` is a numpy name (`float32`, `int64`, `bool`, `float16`, …) or `string`. Numbers travel
    in `data`: little-endian, row-major, no padding. Strings travel in `strings`, row-major, and
    then `data` is empty. `shape` has no unknown dimension.
    """

    name: str
    dtype: str
    shape: Sequence[int]
    data: bytes = b""
    strings: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """The value of a request record. The route comes first so that a node need not read further.

    At most one of `version` and `label` is set. `output_filter` empty means every output.
    """

    model: str
    version: int | None = None
    label: str | None = None
    signature: str = DEFAULT_SIGNATURE
    output_filter: Sequence[str] = ()
    inputs: Sequence[Tensor] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceError:
    """Why a request was not answered: a gRPC status name (`NOT_FOUND`) and one sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResponse:
    """The value of an answer record: outputs, or an error and no outputs."""

    model: str
    version: int | None = None
    signature: str = DEFAULT_SIGNATURE
    outputs: Sequence[Tensor] = ()
    error: InferenceError | None = None


Record = (
    ModelVersion
    | ModelConfig
    | NodeStatus
    | InferenceRequest
    | InferenceResponse
    | ShadowComparison
)


class Route(NamedTuple):
    """What a request names: a model, and at most one of version and label."""

    model: str
    version: int | None = None
    label: str | None = None


def version_key(model: str, version: int) -> bytes:
    """Return the control-topic key of one version."""
    return f"version/{model}/{version}".encode()


def config_key(model: str) -> bytes:
    """Return the control-topic key of a model's configuration."""
    return f"model/{model}".encode()


def check_model_name(model: str) -> None:
    """Raise ValueError, in words, unless `model` can be a model's name."""
    if MODEL_NAME.fullmatch(model) is None:
        shown = model if len(model) <= 40 else f"{model[:40]}… ({len(model)} characters)"
        raise ValueError(
            f"model name {shown!r} is not allowed: use 1 to 128 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )


def check_version(version: int) -> None:
    """Raise ValueError, in words, unless `version` can be a version number."""
    if not 0 < version <= MAX_VERSION:
        raise ValueError(f"version {version} is not allowed: use 1 to {MAX_VERSION}")
