"""The parts of the gRPC benchmarks that need no server: requests, figures, tables, verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import grpc, infer_wire, promises
from benchmarks.rpc import latency, overload, peers
from benchmarks.rpc.caller import EXPIRED, Order, Tally
from benchmarks.rpc.rounds import medians, per_1000
from benchmarks.rpc.tables import PARTS, ratio
from headrace.protos.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)

Y = np.array([2.5, 3.0, 4.5], np.float32)


def test_an_open_inference_request_carries_its_values_raw() -> None:
    """The protocol's order: one raw entry for each input."""
    asked = ModelInferRequest.FromString(infer_wire.request_bytes("m", "x", Y[np.newaxis]))
    (tensor,) = asked.inputs
    assert (asked.model_name, tensor.name, tensor.datatype) == ("m", "x", "FP32")
    assert list(tensor.shape) == [1, 3]
    assert list(asked.raw_input_contents) == [Y.tobytes()]


@pytest.mark.parametrize("is_raw", [True, False])
def test_an_open_inference_answer_is_read_either_way(is_raw: bool) -> None:
    """Servers answer raw or typed as they like; other outputs may come first."""
    tensor = ModelInferResponse.InferOutputTensor
    values = InferTensorContents(fp32_contents=Y.tolist())
    answer = ModelInferResponse(outputs=[tensor(name="z"), tensor(name="y", contents=values)])
    if is_raw:
        answer.raw_output_contents.extend([b"", Y.tobytes()])
    assert np.array_equal(infer_wire.output_of(answer.SerializeToString(), "y"), Y)


def test_answers_and_refusals_have_latencies_of_their_own() -> None:
    """What expired is no refusal: nobody said no."""
    tally = Tally()
    for status, latency_ms in (("0", 3.0), ("0", 1.0), ("8", 0.5), (EXPIRED, 1000.0)):
        tally.add(status, latency_ms)
    found = tally.figures(2.0)
    assert (found["offered_per_second"], found["answered_per_second"]) == (2.0, 1.0)
    assert (found["p50_ms"], found["p99_9_ms"], found["refused_p99_ms"]) == (1.0, 3.0, 0.5)
    assert found["statuses"] == {"0": 2, "8": 1, EXPIRED: 1}


def test_an_order_survives_the_way_to_its_process() -> None:
    """It travels as JSON."""
    given = Order(
        endpoint="localhost:1",
        method="/a/B",
        requests=["r"],
        connections=2,
        seconds=1.5,
        settle_seconds=1.0,
        timeout_seconds=3.0,
        rate=7.5,
    )
    assert Order.from_json(given.to_json()) == given


def test_processor_time_is_told_by_the_thousand() -> None:
    """Two seconds for four thousand calls are half a second for one."""
    assert per_1000({"node": 2.0}, 4000) == {"node_cpu_seconds_per_1000_calls": 0.5}


def throughput(**rates: float) -> dict[str, Any]:
    """Return a result of the throughput benchmark, with a rate for each of some subjects."""
    names = {"node": grpc.NODE, "echo": grpc.ECHO, "pytriton": peers.PYTRITON}
    runs = [
        {
            "shape": shape,
            "subject": names[name],
            "calls_per_second": rate,
            "server_cpu_seconds_per_1000_calls": 0.25,
            "client_cpu_seconds_per_1000_calls": 0.01,
        }
        for shape in ("1 × 1", "4 × 16")
        for name, rate in rates.items()
    ]
    parameters = {
        "peers": {peers.MLSERVER: "1.7.1", peers.PYTRITON: "0.7.0"},
        "not_measured": {peers.MLSERVER: "no such package"},
    }
    return {"medians": medians(runs), "parameters": parameters}


def test_a_peer_that_is_not_there_is_named_with_the_reason() -> None:
    """It has no row, no ratio, and no invented figure."""
    outcome = throughput(node=3000, echo=4000, pytriton=1500)
    words = PARTS["grpc_throughput", "peers"](outcome)
    assert words == "Peers: PyTriton 0.7.0. Not measured: MLServer (no such package)."
    ratios = PARTS["grpc_throughput", "ratios"](outcome)
    assert "| Headrace to grpc.aio echo | 0.75 | 0.75 |" in ratios
    assert "| Headrace to PyTriton | 2.00 | 2.00 |" in ratios
    assert "MLServer" not in ratios + PARTS["grpc_throughput", "table"](outcome)


def test_processor_time_stands_under_its_process() -> None:
    """A server without a worker has an empty place there."""
    page = PARTS["grpc_throughput", "cpu"](throughput(echo=4000))
    assert "| 4 × 16: grpc.aio echo | 0.250 |  | 0.010 |" in page


def test_a_ratio_needs_both() -> None:
    """One of them alone is no comparison."""
    figures = {"a": {"calls_per_second": 3.0}, "b": {"calls_per_second": 2.0}}
    assert ratio(figures, "a", "b") == 1.5
    assert ratio(figures, "a", "c") is None


@pytest.mark.parametrize(("node", "verdict"), [(3000, "yes"), (2990, "**no**")])
def test_the_echo_is_the_measure_of_many_callers(node: float, verdict: str) -> None:
    """The shape of a single caller is shown and not judged."""
    outcome = throughput(node=node, echo=4000)
    outcome["medians"]["shapes"]["1 × 1"][grpc.NODE]["calls_per_second"] = 400
    page = promises.render({"grpc_throughput": outcome})
    assert f"0.10 at 1 × 1, {node / 4000:.2f} at 4 × 16 | {verdict} |" in page


def overloaded(share: float) -> dict[str, Any]:
    """Return a result of the overload benchmark."""
    run = {
        "model": overload.FAST,
        "connections": 8,
        "calls": 100,
        "answered_per_second": 4000.0,
        "client_cpu_percent": 30,
        "percent_of_peak": share,
        "p50_ms": 500.0,
        "refused_p50_ms": 0.75,
        "statuses": {"0": 40, "8": 50, EXPIRED: 10},
    }
    factors = (0, *overload.FACTORS)
    return {"medians": overload.medians([run | {"factor": factor} for factor in factors])}


def test_overload_shows_what_became_of_the_rest() -> None:
    """Statuses by their names, in shares of what was offered."""
    page = PARTS["grpc_overload", "table"](overloaded(95))
    row = "| fast model, 8 connections, 3 × 4,000 | 95 % | 500 "
    assert f"{row}| RESOURCE_EXHAUSTED 50 %, expired 10 % | 0.8 | 30 % |" in page


@pytest.mark.parametrize(("share", "verdict"), [(90, "yes"), (89, "**no**")])
def test_goodput_is_judged_at_the_worst_load(share: int, verdict: str) -> None:
    """Nine tenths of the peak at three times the peak."""
    page = promises.render({"grpc_overload": overloaded(share)})
    assert f"| {share} % (fast, 8 connections) | {verdict} |" in page


@pytest.mark.parametrize(("rate", "verdict"), [(300_000, "yes"), (299_999, "**no**")])
def test_the_core_is_judged_call_by_call(rate: int, verdict: str) -> None:
    """Calls that come in groups are another figure."""
    figures = {
        "calls_per_second": rate,
        "calls_per_cpu_second": rate,
        "microseconds_per_call": 3.3,
    }
    parts = {"the whole core": figures, "the whole core, 64 calls at a time": figures}
    outcome = {"medians": {"parts": parts}}
    assert f"{rate:,} calls/s | {verdict} |" in promises.render({"core_throughput": outcome})
    assert "| TensorFlow Serving, as announced | about 100,000 |" in PARTS[
        "core_throughput", "table"
    ](outcome)


def test_latencies_stand_by_models_and_rate() -> None:
    """The peak is said in words and has no row: there the client waits for the server."""
    run = {
        "models": 8,
        "rate": 1000,
        "calls": 10,
        "answered_per_second": 4000.0,
        "statuses": {"0": 9, "14": 1},
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "p99_9_ms": 3.0,
        "client_cpu_percent": 7,
    }
    loads = (latency.PEAK, latency.at_share(0.25))
    outcome = {"medians": latency.medians([run | {"load": load} for load in loads])}
    page = PARTS["grpc_latency", "table"](outcome)
    assert "| 8: 25% of the peak | 1,000 | 1.00 | 2.00 | 3.00 | 1 | 7 % |" in page
    assert latency.at_share(0.25) in page
    assert "| 8: peak" not in page
    assert PARTS["grpc_latency", "peaks"](outcome).endswith("4,000 with 8.")
