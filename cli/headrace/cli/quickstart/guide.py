"""What to do with a quickstart that keeps running: commands and code with its real addresses."""

from __future__ import annotations

from typing import Final

from headrace.publisher.connection import KafkaConnection
from headrace.publisher.fleet import NodeView

_TEXT: Final = """\
Broker and node keep running; Ctrl-C stops them. In another terminal:

  export HEADRACE_BOOTSTRAP_SERVERS={kafka} HEADRACE_ENDPOINT={grpc}
  headrace models
  headrace history digits
  headrace predict digits --inputs '{{"image": [{zeros}]}}'
  headrace predict digits --inputs '{{"image": [{zeros}]}}' --via kafka --dtype image=float32
  headrace publish MODEL FOLDER_OF_A_SAVED_MODEL --wait fleet
  curl http://{http}/readyz

From Python, over Kafka:

  from headrace.publisher import InferenceClient
  from headrace.publisher.connection import KafkaConnection

  async with InferenceClient(KafkaConnection("{kafka}")) as client:
      answer = await client.infer("digits", {{"image": images}})  # (rows, 64) float32
      print(answer.outputs["class"], answer.version)

Over gRPC, any client of TensorFlow Serving, unchanged, at {grpc}.
"""


def text(connection: KafkaConnection, node: NodeView) -> str:
    """Return the guide for one broker and one node."""
    heartbeat = node.heartbeat
    return _TEXT.format(
        kafka=connection.bootstrap_servers,
        grpc=heartbeat.grpc_endpoint if heartbeat else "",
        http=heartbeat.http_endpoint if heartbeat else "",
        zeros="[" + ",".join(["0"] * 64) + "]",
    )
