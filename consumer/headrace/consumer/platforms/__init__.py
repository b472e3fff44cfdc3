"""What can load and run a model. `platform` is the contract; each other module keeps it for one
kind of model. Only the worker processes and their zygotes import those.

The names here are what the author of a platform needs; see docs/platforms.md.
"""

from headrace.consumer.core.codes import Code
from headrace.consumer.platforms.platform import LoadOptions, Model, Platform, PlatformError
from headrace.consumer.platforms.signature import Array, Signature, TensorSpec

__all__ = [
    "Array",
    "Code",
    "LoadOptions",
    "Model",
    "Platform",
    "PlatformError",
    "Signature",
    "TensorSpec",
]
