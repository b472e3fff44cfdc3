"""The figures of the gRPC door: how much, how fast, how many models, and what overload does."""
