"""The verdict on a finished show: the one line that scripts rely on, or what is wrong. Pure."""

from __future__ import annotations

from headrace.cli.quickstart.scoreboard import Door, Scoreboard


def faults(board: Scoreboard, versions: int) -> list[str]:
    """Return what is not as promised, in words; empty when all is well."""
    found: list[str] = []
    for door in Door:
        counted = board.counts[door]
        if counted.failed:
            found.append(
                f"{counted.failed} of {counted.sent} {door} requests failed, the first with "
                f"{counted.first_failure}"
            )
        unanswered = counted.sent - counted.answers - counted.failed
        if unanswered:
            found.append(f"{unanswered} of {counted.sent} {door} requests were never answered")
    if len(board.scores) != versions:
        found.append(f"{len(board.scores)} of {versions} versions were served")
    for score in board.scores:
        found += [
            f"version {score.version} has not answered every digit over {door}"
            for door in board.uncovered(score.version)
        ]
    return found


def ok_line(board: Scoreboard) -> str:
    """Return the line of a show without faults.

    Invariant: scripts read this line; its words and their order stay.
    """
    accuracies = "→".join(f"{score.accuracy or 0.0:.2f}" for score in board.scores)
    failed = sum(board.counts[door].failed for door in Door)
    return (
        f"quickstart ok: versions={len(board.scores)} "
        f"grpc_answers={board.counts[Door.GRPC].answers} "
        f"kafka_answers={board.counts[Door.KAFKA].answers} "
        f"failed={failed} accuracy={accuracies}"
    )
