"""The least that a Python gRPC server can do: an empty `grpc.aio` server, the same bytes back.

`python -m benchmarks.echo_server` says its port as JSON and answers any method until its standard
input ends.
"""

from __future__ import annotations

import asyncio
import json

import grpc
from grpc import aio

from benchmarks.open_loop import stdin_ended


class Echo(grpc.GenericRpcHandler):
    """Takes every call.

    **Concurrency:** event loop only.
    """

    def service(
        self,
        handler_call_details: grpc.HandlerCallDetails,  # noqa: ARG002 - gRPC's signature
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the one handler there is."""
        return _HANDLER


async def _echo(request: bytes, _context: aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


_HANDLER: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_echo)


async def main() -> None:
    """Serve until standard input ends."""
    server = aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"endpoint": f"127.0.0.1:{port}"}), flush=True)
    await stdin_ended().wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
