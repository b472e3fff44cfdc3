"""Tries a candidate before it is published: `python -m headrace.consumer.validation`."""
