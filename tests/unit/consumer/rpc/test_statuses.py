"""The status table and the bounds of a status message."""

import grpc
import pytest

from headrace.consumer.core.codes import Code
from headrace.consumer.rpc.statuses import GRPC_STATUS, MAX_MESSAGE_BYTES, TRUNCATED, cut


@pytest.mark.parametrize("code", Code)
def test_every_code_is_the_grpc_status_of_that_name_and_number(code: Code) -> None:
    """Clients see the canonical status, so no code may be missing or stand for another."""
    status = GRPC_STATUS[code]
    assert (status.name, status.value[0]) == (code.name, code.value)


def test_table_covers_all_of_grpc() -> None:
    """A status that grpc knows and we do not would be one we can never answer with."""
    assert set(GRPC_STATUS.values()) == set(grpc.StatusCode)


@pytest.mark.parametrize("message", ["", "short", "x" * MAX_MESSAGE_BYTES, "é" * 512])
def test_message_within_the_bound_stays_whole(message: str) -> None:
    """A message of up to 1024 bytes arrives as it was written."""
    assert cut(message) == message


@pytest.mark.parametrize("message", ["x" * 1025, "é" * 513, "€" * 5000, "x" + "𝔘" * 1000])
def test_longer_message_is_cut_between_characters_and_marked(message: str) -> None:
    """A cut message says that it was cut, and is still text."""
    kept = cut(message).removesuffix(TRUNCATED)
    assert cut(message).endswith(TRUNCATED)
    assert message.startswith(kept)
    assert MAX_MESSAGE_BYTES - 4 < len(kept.encode()) <= MAX_MESSAGE_BYTES


def test_message_that_is_no_unicode_is_still_sent() -> None:
    """A lone surrogate, which no header can carry, is replaced instead of failing the answer."""
    assert cut("bad \udcff name") == "bad ? name"
