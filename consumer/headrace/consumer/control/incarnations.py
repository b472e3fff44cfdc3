"""What earlier lives of a node left on the status topic."""

from __future__ import annotations

import structlog

from headrace.publisher.connection import KafkaConnection
from headrace.publisher.fleet import heartbeat_key
from headrace.publisher.tail import tail
from headrace.schemas.codec import decode
from headrace.schemas.errors import WireError
from headrace.schemas.records import NodeStatus

_LOG = structlog.get_logger(__name__)


async def earlier_keys(
    connection: KafkaConnection, topic: str, node: str, incarnation: int
) -> list[bytes]:
    """Return the keys that hold records of earlier incarnations of `node`.

    Records of a later incarnation are left alone, and logged: somebody else uses the node's id.

    Raises:
        BrokerUnreachable: Kafka is away.
        TopicMismatch: there is no status topic.
    """
    heartbeat = heartbeat_key(node)
    prefix = heartbeat + b"/"
    left: dict[bytes, bytes] = {}
    async with tail(connection, topic) as reader:
        async for message in reader.to_end():
            key = message.key
            if key is None or not (key == heartbeat or key.startswith(prefix)):
                continue
            if message.value is None:
                left.pop(key, None)
            else:
                left[key] = message.value
    return [key for key, value in left.items() if _is_earlier(node, value, incarnation)]


def _is_earlier(node: str, value: bytes, incarnation: int) -> bool:
    try:
        other = decode(value, NodeStatus).incarnation
    except WireError:
        return True
    if other > incarnation:
        _LOG.error("node_id.duplicated", node=node, incarnation=incarnation, other=other)
    return other < incarnation
