"""The parts of the Kafka benchmarks that need no broker: requests, figures, tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks import profile, promises
from benchmarks.kafka import growth, rounds, throughput
from benchmarks.kafka.deployments import AT_LEAST_ONCE, EXACTLY_ONCE
from benchmarks.kafka.latency import latencies_of, spread_of
from benchmarks.kafka.payloads import Payloads, correlation_id, request_number
from benchmarks.kafka.processor_time import per_million
from benchmarks.kafka.tables import PARTS
from benchmarks.measurement import BenchmarkError
from headrace.schemas import codec
from headrace.schemas.records import InferenceError, InferenceRequest, InferenceResponse
from headrace.schemas.tensors import from_tensor, to_tensor


@dataclass(frozen=True)
class Record:
    """A record as a consumer hands it out."""

    value: bytes | None
    topic: str = "responses"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def test_a_correlation_id_says_which_request_of_which_round() -> None:
    """Answers to an earlier round's requests are told apart from this round's."""
    given = correlation_id(7, 123_456)
    assert (request_number(7, given), request_number(8, given)) == (123_456, None)


@pytest.mark.parametrize("given", [b"", b"nonsense", b"\xff", b"00"])
def test_foreign_correlation_ids_belong_to_no_round(given: bytes) -> None:
    """Whatever else is on the topic counts as no answer."""
    assert request_number(0, given) is None


def test_requests_ask_the_models_in_turn() -> None:
    """Request n asks model n modulo their number, also where the pool of requests begins anew."""
    payloads = Payloads.of(["a", "b", "c"], (3,))
    asked = [codec.decode(value, InferenceRequest) for value in payloads.values]
    assert len(asked) % 3 == 0
    assert [request.model for request in asked[:4]] == ["a", "b", "c", "a"]
    x = from_tensor(asked[4].inputs[0])
    assert np.allclose(payloads.expected(4 + len(asked)), 0.5 * x + 2)


def test_only_the_right_answer_passes() -> None:
    """Wrong numbers, a wrong shape and an error answer fail the round."""
    payloads = Payloads.of(["a"], (3,))
    y = payloads.expected(1)

    def answered(response: InferenceResponse) -> Record:
        return Record(codec.encode(response))

    payloads.check(1, answered(InferenceResponse(model="a", outputs=[to_tensor("y", y)])))
    for wrong in (y + 1, y[:2], payloads.expected(2)):
        with pytest.raises(BenchmarkError, match="request 1 was answered with"):
            payloads.check(
                1, answered(InferenceResponse(model="a", outputs=[to_tensor("y", wrong)]))
            )
    error = InferenceError(code="NOT_FOUND", message="no such model")
    with pytest.raises(BenchmarkError, match="no such model"):
        payloads.check(1, answered(InferenceResponse(model="a", error=error)))


def test_the_pass_through_may_change_nothing() -> None:
    """Its answer is the request itself."""
    payloads = Payloads.of(["a"], (3,))
    payloads.check_same(1, Record(payloads.values[1]))
    with pytest.raises(BenchmarkError, match="request 1 came back changed"):
        payloads.check_same(1, Record(payloads.values[2]))


@pytest.mark.parametrize("size", [500, 5_000, 50_000, 500_000, 1_000_000])
def test_values_are_as_large_as_asked_and_no_larger(size: int) -> None:
    """The largest must fit into what the client may send."""
    made = Payloads.of(["m"], (growth.floats_for(size),)).value_bytes
    assert size - 16 < made <= size


def test_latency_counts_from_when_a_request_was_due() -> None:
    """Not from when a late writer sent it; the first moments are left out."""
    # Four requests a second from 100 s on; the third is due at 100.5 and has its answer at 100.6.
    found = latencies_of(([0, 2, 4], [100.9, 100.6, 101.0]), 100.0, 4.0, 0.5)
    assert found == pytest.approx([100.0, 0.0])


def test_no_latencies_are_an_error() -> None:
    """Percentiles of nothing would be figures of nothing."""
    with pytest.raises(BenchmarkError, match="no answer"):
        spread_of([])


def test_processor_time_is_told_by_the_million() -> None:
    """Two seconds for half a million records are four for a million."""
    assert per_million({"node": 2.0}, 500_000) == {"node_cpu_seconds_per_million": 4.0}


def test_busy_time_of_any_process_goes_to_the_innermost_owner() -> None:
    """Waiting counts nothing, and frames that nobody owns are their callers'."""
    owners = ((re.compile("aiokafka/"), "aiokafka"), (re.compile("consumer/"), "Headrace"))
    lines = [
        "main (consumer/main.py:1);take (aiokafka/consumer.py:1);crc (lib.so) 30",
        "main (consumer/main.py:1);memcpy (libc.so) 10",
        "main (consumer/main.py:1);epoll_wait (libc.so) 99",
    ]
    assert profile.by_owner(lines, owners) == {"aiokafka": 75, "Headrace": 25}


@pytest.mark.parametrize(
    ("records", "value_bytes", "count"),
    [(123_456, 72, 120_000), (3e9, 72, 1_500_000), (5_000, 10**6, 800), (0.2, 72, 8)],
)
def test_rounds_are_bounded(records: float, value_bytes: int, count: int) -> None:
    """Neither a broken guess nor large values make a round that never ends or has no records."""
    assert rounds.limited(records, value_bytes) == count


def rates(**found: int) -> dict[str, object]:
    """Return the figures of a run of the throughput benchmark, by subject."""
    subjects = {
        name: {
            "records_per_second": rate,
            "broker_cpu_seconds_per_million": 2.0,
            "watch_cpu_seconds_per_million": 0.1,
            "cpu_elsewhere_percent": 20,
        }
        for name, rate in found.items()
    }
    by_input = {throughput.SMALL: {throughput.BACKLOG: subjects}}
    return {"rates": by_input, "ratios": throughput.ratios(by_input)}


def test_what_was_not_measured_has_no_ratio() -> None:
    """Without MLServer or exactly-once the others are compared all the same."""
    found = rates(**{AT_LEAST_ONCE: 150, throughput.PASS_THROUGH: 300})
    assert found["ratios"] == {"at_least_once to pass-through, 3 floats": 0.5}


@pytest.mark.parametrize(("exactly_once", "verdict"), [(120_000, "yes"), (119_000, "**no**")])
def test_the_promise_of_exactly_once_is_a_ratio(exactly_once: int, verdict: str) -> None:
    """Exactly once is judged by what it costs beside at least once."""
    found = {AT_LEAST_ONCE: 200_000, EXACTLY_ONCE: exactly_once}
    page = promises.render({"kafka_throughput": {"medians": rates(**found)}})
    ratio = f"{exactly_once / 200_000:g}"
    assert f"0.6 times as fast as at least once | {ratio} | {verdict} |" in page
    assert "| at least 100 times as many as MLServer's Kafka server | not measured yet |" in page


def test_tables_show_who_was_measured_and_who_disturbed() -> None:
    """A subject that was not there has no row; others' processor time stands beside the figures."""
    medians = rates(**{AT_LEAST_ONCE: 200_000})
    page = PARTS["kafka_throughput", "rates"]({"medians": medians})
    assert "| Headrace, at least once | 200,000 |  |  |" in page
    assert "MLServer" not in page
    cpu = PARTS["kafka_throughput", "cpu"]({"medians": medians})
    assert "| 2.0 | 0.1 | 20 % of a core |" in cpu
