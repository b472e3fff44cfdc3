"""What every record can do as plain data, and the limits of single fields."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict

import pytest

from headrace.schemas.records import (
    MAX_VERSION,
    InferenceRequest,
    InferenceResponse,
    ModelConfig,
    ModelVersion,
    NodeStatus,
    Record,
    check_model_name,
    check_version,
    config_key,
    version_key,
)

RECORDS: list[Record] = [
    ModelVersion(model="m", version=1, uri="/m/1", digest="sha256:0", size_bytes=1),
    ModelConfig(model="m"),
    NodeStatus(node="n", incarnation=1, at_ms=0, control_offset=-1),
    InferenceRequest(model="m"),
    InferenceResponse(model="m"),
]


@pytest.mark.parametrize("record", RECORDS)
def test_records_travel_between_processes_and_into_json(record: Record) -> None:
    """With its defaults, too, a record can be pickled, copied and turned into a dict."""
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record
    assert set(asdict(record)) >= {"model"} or "node" in asdict(record)


@pytest.mark.parametrize("name", ["m", "9", "Ranker-v2.1_b", "x" * 128])
def test_accepts_model_names(name: str) -> None:
    """Letters, digits, dots, underscores and dashes make names of up to 128."""
    check_model_name(name)


@pytest.mark.parametrize("name", ["", ".m", "-m", "a/b", "a b", "m\n", "ü", "x" * 129])
def test_refuses_model_names(name: str) -> None:
    """Other names are refused, and a long one is not repeated in full."""
    with pytest.raises(ValueError, match="is not allowed: use 1 to 128 letters") as caught:
        check_model_name(name)
    assert len(str(caught.value)) < 250


def test_version_numbers_are_positive_longs() -> None:
    """Zero, negative and oversized numbers are refused."""
    check_version(1)
    check_version(MAX_VERSION)
    for version in (0, -1, MAX_VERSION + 1):
        with pytest.raises(ValueError, match=f"version {version} is not allowed"):
            check_version(version)


def test_keys_of_the_control_topic() -> None:
    """A version and its model's configuration have keys of their own."""
    assert version_key("ranker", 42) == b"version/ranker/42"
    assert config_key("ranker") == b"model/ranker"
