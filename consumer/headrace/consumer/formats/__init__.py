"""The encodings of requests and answers, and how requests are joined into batches.

Runs in the worker, beside the model; knows numpy and the wire formats, and no platform.
"""
