"""What talks to Headrace through Kafka: model versions published, inference asked, fleets watched.

The light install: neither TensorFlow nor gRPC is ever imported from here.
"""
