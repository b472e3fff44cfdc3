"""The report's tables and figures in words, each made of one benchmark's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from benchmarks.measurement import Json

Rows = Sequence[Sequence[str]]

EVENT: Final = "event on a running node"
_FRESH: Final = "fresh Python"


def table(head: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def when(outcome: Json) -> str:
    """Return what a result was measured on, and when."""
    machine = outcome["machine"]
    packages = machine["packages"]
    quick = "**a quick run, not to be quoted** · " if outcome["is_quick"] else ""
    return (
        f"{quick}{machine['date'][:10]} · {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']:g} GiB · Python {machine['python']}, "
        f"TensorFlow {packages['tensorflow']}, grpcio {packages['grpcio']}, "
        f"aiokafka {packages['aiokafka']} · "
        f"load average before: {machine['load_average_before']:g}"
    )


def _events(outcome: Json) -> str:
    names = {
        "send_to_acknowledged_ms": "sent → acknowledged",
        "acknowledged_to_loading_logged_ms": "acknowledged → LOADING logged",
        "acknowledged_to_loading_read_ms": "acknowledged → LOADING read",
        "acknowledged_to_available_read_ms": "acknowledged → AVAILABLE read",
    }
    rows = [
        (f"{model}: {words}", *_spread(figures[EVENT][name]))
        for model, figures in outcome["medians"].items()
        for name, words in names.items()
    ]
    return table(("ms", "events", "median", "95 %", "smallest", "largest"), rows)


def _fresh(outcome: Json) -> str:
    names = {
        "start_to_imported_ms": "process start → TensorFlow imported",
        "load_alone_ms": "load alone",
        "start_to_loaded_ms": "process start → loaded",
    }
    rows = [
        (f"{model}: {words}", *_spread(figures[_FRESH][name]))
        for model, figures in outcome["medians"].items()
        for name, words in names.items()
    ]
    return table(("ms", "starts", "median", "95 %", "smallest", "largest"), rows)


def _replay(outcome: Json) -> str:
    medians, asked = outcome["medians"], outcome["parameters"]
    runs = " / ".join(f"{run['events_per_second']:,}" for run in outcome["runs"])
    rows = [
        ("version events, of models", f"{asked['events']:,}, {asked['models']:,}"),
        ("events per second, median", f"{medians['events_per_second']:,}"),
        ("the single runs", runs),
        ("memory per known version", f"{medians['bytes_per_known_version']:,} bytes"),
        ("longest hold of the event loop", f"{medians['longest_loop_turn_ms']:g} ms"),
    ]
    return table(("", ""), rows)


def _memory(outcome: Json) -> str:
    rows: list[tuple[str, ...]] = []
    for kind, figures in outcome["medians"].items():
        for name, words in (("pss_mb", "PSS"), ("anonymous_mb", "anonymous")):
            rows.append(
                (
                    f"{kind}: {words}",
                    *(
                        f"{figures[f'{name}_{at}']:g}"
                        for at in ("before", "after_first", "after_last")
                    ),
                    f"{figures[f'{name}_growth_percent']:+g} %",
                )
            )
    return table(("MB", "before", "after the first", "after the last", "growth"), rows)


def _swap_words(outcome: Json) -> str:
    asked = outcome["parameters"]
    rates = " and ".join(
        f"{rate:g} requests a second by {door}"
        for door, rate in asked["requests_per_second"].items()
    )
    return f"{asked['swaps']} swaps of the {asked['model']} model under {rates}, one row each."


def _swap_windows(outcome: Json) -> str:
    window, available = (
        outcome["medians"][name] for name in ("window_ms", "acknowledged_to_available_ms")
    )
    return (
        f"A swap lasts {window['median']:g} ms (median; {window['p95']:g} ms at 95 %), of which "
        f"{available['median']:g} ms until the new version is AVAILABLE. The first request that a "
        f"new version answered took {_first_answers(outcome)} (medians)."
    )


def _first_answers(outcome: Json) -> str:
    return " and ".join(
        f"{figures['first_answer_of_a_version_ms']['median']:g} ms by {door}"
        for door, figures in outcome["medians"]["doors"].items()
    )


def _swaps(outcome: Json) -> str:
    rows: list[tuple[str, ...]] = []
    for door, figures in outcome["medians"]["doors"].items():
        for where in ("inside", "outside"):
            seen = figures[where]
            rows.append(
                (
                    f"{door}, {where}",
                    f"{seen['requests']:,}",
                    *(f"{seen.get(name, 0):g}" for name in ("p50_ms", "p99_ms", "max_ms")),
                )
            )
        rows.append((f"{door}, failed", f"{figures['failed']:,}", "", "", ""))
    return table(("", "requests", "p50 ms", "p99 ms", "largest ms"), rows)


def _profile(outcome: Json) -> str:
    seen = outcome["medians"].get("node_profile_percent")
    if seen is None:
        return "The node was not profiled: `py-spy` was not there."
    rows = [(owner, f"{share} %") for owner, share in seen["of_the_busy_time"].items()]
    shape = outcome["parameters"]["profiled_shape"]
    return (
        f"Where the node's process spends its busy time, at {shape} (by py-spy; the innermost "
        "frame that belongs to somebody counts). Its event loop waits "
        f"{seen['event_loop_thread_waits']} % of the time:\n\n"
        f"{table(('', 'share'), rows)}"
    )


PARTS: Final[Mapping[tuple[str, str], Callable[[Json], str]]] = {
    ("version_events", "events"): _events,
    ("version_events", "fresh"): _fresh,
    ("control_replay", "table"): _replay,
    ("unload_memory", "size"): lambda outcome: (
        f"{outcome['parameters']['model_bytes'] / 1e6:.0f} MB"
    ),
    ("unload_memory", "cycles"): lambda outcome: str(outcome["parameters"]["cycles"]),
    ("unload_memory", "table"): _memory,
    ("swaps_under_load", "words"): _swap_words,
    ("swaps_under_load", "windows"): _swap_windows,
    ("swaps_under_load", "table"): _swaps,
    ("grpc_throughput", "profile"): _profile,
}


def _spread(figures: Json) -> tuple[str, ...]:
    return tuple(f"{figures[name]:g}" for name in ("count", "median", "p95", "min", "max"))
