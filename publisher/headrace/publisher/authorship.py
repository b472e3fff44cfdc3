"""Whose name the log shows beside what was published."""

from __future__ import annotations

import getpass
import os
import socket


def user_at_host() -> str:
    """Return who publishes when nobody says so."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
