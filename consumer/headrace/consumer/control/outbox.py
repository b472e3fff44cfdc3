"""What the node still has to say on the status topic: in order, and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from headrace.schemas.records import NodeStatus

MAX_PENDING: Final = 1000


class Note(NamedTuple):
    """One record for the status topic; without a status, a tombstone."""

    key: bytes
    status: NodeStatus | None


class Outbox:
    """Notes waiting to be sent, oldest first.

    Up to `max_pending` all are kept. Past that each version keeps its latest note, at the place
    of its first, and one heartbeat stays, at the end: a heartbeat never overtakes a status that
    was noted before it, and the memory is bounded by the number of versions.

    **Concurrency:** event loop only.
    """

    def __init__(self, heartbeat_key: bytes, *, max_pending: int = MAX_PENDING) -> None:
        self._heartbeat_key = heartbeat_key
        self._max_pending = max_pending
        self._squeeze_at = max_pending
        self._notes: list[Note] = []

    def __len__(self) -> int:
        return len(self._notes)

    def put(self, note: Note) -> None:
        """Append a note; a heartbeat right behind a heartbeat replaces it."""
        key = self._heartbeat_key
        if note.status and note.key == key and self._notes and self._notes[-1].key == key:
            self._notes.pop()
        self._notes.append(note)
        if len(self._notes) > self._squeeze_at:
            self._squeeze()

    def take(self, at_most: int) -> Sequence[Note]:
        """Remove and return the oldest notes."""
        taken, self._notes = self._notes[:at_most], self._notes[at_most:]
        self._squeeze_at = max(self._max_pending, len(self._notes))
        return taken

    def _squeeze(self) -> None:
        latest = {note.key: note for note in self._notes}
        heartbeat = latest.pop(self._heartbeat_key, None)
        self._notes = list(latest.values())
        if heartbeat is not None:
            self._notes.append(heartbeat)
        # Half as much again before the next time, or every put would squeeze.
        self._squeeze_at = max(self._max_pending, len(self._notes) * 3 // 2)
