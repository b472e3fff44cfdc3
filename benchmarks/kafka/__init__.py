"""The Kafka door in figures: throughput, latency and what grows with what, each beside peers.

`throughput`, `latency` and `growth` are the benchmarks; the other modules are their parts. Every
round is checked: each request has exactly one answer or the round fails.
"""
