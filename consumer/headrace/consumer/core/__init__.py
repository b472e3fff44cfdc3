"""The lifecycle core: what to serve, in which state it is, and where a request goes.

It knows no Kafka, no gRPC, no TensorFlow and no Avro; the records it folds are plain dataclasses.
"""
