"""What the quickstart can fail with."""


class QuickstartFailed(Exception):
    """The show could not go on, or its numbers are not what was promised; one line says why."""
