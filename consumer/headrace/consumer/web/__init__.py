"""The HTTP door: health checks for orchestrators, and the state of models as JSON.

Nothing outside this package imports aiohttp.
"""

from headrace.consumer.web.door import HttpDoor, HttpOptions

__all__ = ["HttpDoor", "HttpOptions"]
