"""A real Kafka for the integration tests: one broker per run, topics of their own per test."""

import asyncio
import os
import uuid
from collections.abc import Iterator

import pytest

from headrace.cli.broker import EmbeddedBroker
from tests.guarded import Guarded, login_broker


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    """The address of a Kafka: `HEADRACE_TEST_BOOTSTRAP_SERVERS`, else an embedded broker."""
    given = os.environ.get("HEADRACE_TEST_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    # Loops of its own: those of the tests live for one test each.
    broker = EmbeddedBroker()
    asyncio.run(broker.start())
    try:
        yield broker.bootstrap_servers
    finally:
        asyncio.run(broker.stop())


@pytest.fixture
def unique_name() -> str:
    """A name that no other test uses, for topics, groups, transactional ids and nodes."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic_prefix(unique_name: str) -> str:
    """What a test puts before its topic names, so that tests never share topics."""
    return f"{unique_name}."


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A broker behind TLS that asks for a login."""
    with login_broker(tmp_path_factory.mktemp("guarded")) as broker:
        yield broker
