"""Measures what Headrace promises in figures: one module per claim, each beside something known.

`python -m benchmarks` runs them and writes one JSON file each; `python -m benchmarks report` makes
`docs/performance.md` of those files. No part of the product, and imported by none.
"""
