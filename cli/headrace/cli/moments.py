"""Points in time as a person writes them: `2h` ago, or an ISO date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.publisher.errors import InvalidArgument

_AGO: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_moment(option: str, text: str, now: datetime | None = None) -> int:
    """Return the moment that an option names, in epoch milliseconds.

    Args:
        option: the option, for the message.
        text: `30m`, `2h`, `7d` before now, or an ISO time; without an offset it is local time.
        now: the present, for tests.

    Raises:
        InvalidArgument: it is neither.
    """
    match = _AGO.fullmatch(text.strip())
    try:
        if match is not None:
            ago = timedelta(**{_UNITS[match[2]]: float(match[1])})
            moment = (now or datetime.now(UTC)) - ago
        else:
            moment = datetime.fromisoformat(text.strip())
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(
            f"{option} {text!r} is no time: give a duration before now, such as 30m, 2h or 7d, or "
            "an ISO time, such as 2026-01-31T08:00:00+01:00"
        ) from error


def iso(timestamp_ms: int) -> str:
    """Return epoch milliseconds as ISO time in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
