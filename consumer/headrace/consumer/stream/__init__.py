"""The Kafka door: requests from request topics, answers to reply topics, poison to dead letters.

Each assigned partition has a pipeline of its own: take, infer, answer, confirm, commit. Order per
partition holds, and nothing is committed before its answer is confirmed.
"""

from headrace.consumer.stream.door import KafkaDoor
from headrace.consumer.stream.options import StreamOptions

__all__ = ["KafkaDoor", "StreamOptions"]
