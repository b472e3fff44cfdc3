"""The gRPC door: TensorFlow Serving's API, Open Inference, health and reflection on one port.

A request's bytes go to the version that it names, and the answer's bytes come back
untouched; what a model does is the worker's business. Nothing outside this package imports grpc.
"""

from headrace.consumer.rpc.door import GrpcDoor, GrpcOptions

__all__ = ["GrpcDoor", "GrpcOptions"]
