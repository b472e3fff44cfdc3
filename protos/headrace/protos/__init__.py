"""The protobuf messages that the node and the publisher read and write, in packages of our own.

Each `*_pb2` module is generated from the `.proto` file beside it by `scripts/protos`.
"""
