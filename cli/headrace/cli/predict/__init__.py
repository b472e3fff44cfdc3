"""One inference from the command line: JSON to tensors, by gRPC or Kafka, and tensors to JSON."""
