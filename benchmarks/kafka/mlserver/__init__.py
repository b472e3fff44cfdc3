"""MLServer's Kafka server as a peer: installed apart, given the same numbers in its own format."""
