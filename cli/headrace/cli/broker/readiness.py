"""Does this broker answer: a metadata request that names our node of our cluster."""

import asyncio
import importlib
from typing import Any

from headrace.cli.broker.config import NODE_ID

_REQUEST_SECONDS = 5.0


async def accepts(port: int) -> bool:
    """Tell whether something accepts connections; Kafka does once its controller admitted it."""
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def answers(port: int, cluster_id: str | None) -> bool:
    """Tell whether the broker at `port` of localhost names node 1 of `cluster_id` as itself.

    An open port alone may belong to another broker.
    """
    # Loaded only now: it takes longer than all before it, and Java is at work meanwhile.
    kafka_errors = importlib.import_module("aiokafka.errors")
    admin: Any = importlib.import_module("aiokafka.admin").AIOKafkaAdminClient(
        bootstrap_servers=f"localhost:{port}", request_timeout_ms=int(_REQUEST_SECONDS * 1000)
    )
    try:
        async with asyncio.timeout(2 * _REQUEST_SECONDS):
            await admin.start()
            cluster = await admin.describe_cluster()
    except (kafka_errors.KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
    brokers = [(broker["node_id"], broker["port"]) for broker in cluster["brokers"]]
    return bool(cluster["cluster_id"] == cluster_id and brokers == [(NODE_ID, port)])
