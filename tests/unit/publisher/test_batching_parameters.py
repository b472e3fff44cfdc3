"""TensorFlow Serving's batching parameters, read from its users' files."""

from pathlib import Path

import pytest

from headrace.publisher.batching_parameters import read
from headrace.publisher.errors import InvalidArgument
from headrace.schemas.records import Batching, LargeRequests


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "batching.pbtxt"


@pytest.mark.parametrize(
    ("text", "batching"),
    [
        ("", Batching(max_rows=1000, large_requests=LargeRequests.REFUSE)),
        (
            "max_batch_size { value: 128 }\nbatch_timeout_micros { value: 500 }",
            Batching(max_rows=128, timeout_micros=500, large_requests=LargeRequests.REFUSE),
        ),
        (
            """max_batch_size { value: 128 } max_execution_batch_size { value: 32 }
            enable_large_batch_splitting { value: true } allowed_batch_sizes: [8, 32]""",
            Batching(max_rows=32, allowed_rows=(8, 32), large_requests=LargeRequests.SPLIT),
        ),
        (
            "pad_variable_length_inputs: true max_execution_batch_size { value: 32 }",
            Batching(max_rows=1000, pads_variable_length=True, large_requests=LargeRequests.REFUSE),
        ),
    ],
)
def test_reads_the_rules(file: Path, text: str, batching: Batching) -> None:
    """What the file leaves out has TensorFlow Serving's default, not ours."""
    file.write_text(text)
    assert read(file).batching == batching


def test_names_what_has_no_counterpart(file: Path) -> None:
    """Each parameter that changes nothing here is named with the reason."""
    file.write_text(
        "num_batch_threads { value: 4 } max_enqueued_batches { value: 9 }\n"
        'thread_pool_name { value: "pool" }  # its label'
    )
    assert set(read(file).ignored) == {
        "max_enqueued_batches",
        "num_batch_threads",
        "thread_pool_name",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"max_batch_sice { value: 1 }", "no field named"),
        (b"max_batch_size: 1", "is no text-format BatchingParameters"),
        (b"\xff\xfe", "cannot read batching parameters"),
    ],
)
def test_refuses_another_file_in_words(file: Path, content: bytes, words: str) -> None:
    """A typing error is not passed over."""
    file.write_bytes(content)
    with pytest.raises(InvalidArgument, match=words):
        read(file)


def test_a_missing_file_is_named(file: Path) -> None:
    """The message has the path."""
    with pytest.raises(InvalidArgument, match=r"batching\.pbtxt"):
        read(file)
