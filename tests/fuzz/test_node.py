"""A whole node under hostile clients: REST by its description, and garbage on both ports."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.freshness import MIN_CONTROL_OFFSET
from headrace.consumer.web.inference import TIMEOUT
from headrace.publisher import KafkaConnection
from tests.e2e.rig import Site
from tests.fuzz.collected import collected
from tests.fuzz.conftest import EXAMPLES, FUZZ
from tests.fuzz.described import CHECKS, OPERATIONS, Case, cases
from tests.models import model

MODEL: Final = "m"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SOCKETS: Final = 200
_TIMEOUT_SECONDS: Final = 20


@dataclass
class Node:
    """A node in a process of its own, and what it logged.

    **Concurrency:** one test at a time; a thread collects the log.
    """

    process: subprocess.Popen[bytes]
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    started: threading.Event = field(default_factory=threading.Event)

    def collect(self) -> None:
        """Read the log to its end."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.events.append(json.loads(line) if line.startswith(b"{") else {"event": repr(line)})
            if self.events[-1]["event"] == "node.started":
                self.started.set()

    def port(self, door: str) -> int:
        """Return the port of a door."""
        [started] = [event for event in self.events if event["event"] == "node.started"]
        return int(started[f"{door}_port"])

    @property
    def url(self) -> str:
        """Where its REST API is."""
        return f"http://127.0.0.1:{self.port('http')}"

    def workers(self) -> set[int]:
        """Return the processes below the node: zygotes and workers."""
        found, left = set[int](), [self.process.pid]
        while left:
            pid = left.pop()
            for task in Path(f"/proc/{pid}/task").iterdir():
                children = [int(child) for child in (task / "children").read_text().split()]
                found.update(children)
                left += children
        return found

    def check(self) -> None:
        """Hold the node to going on: it answers, and nothing of ours failed."""
        assert self.process.poll() is None, self.events[-5:]
        answer = requests.post(
            f"{self.url}/v1/models/{MODEL}:predict", json={"instances": [[2.0]]}, timeout=30
        )
        assert answer.json() == {"predictions": [[3.0]]}
        # What the Kafka client has to say of a young topic is no event of ours.
        assert not [event for event in self.events if _is_mistake(event)]


def _is_mistake(event: dict[str, Any]) -> bool:
    is_ours = re.fullmatch(r"[a-z_]+\.[a-z_]+", str(event["event"])) is not None
    return is_ours and event["level"] in {"error", "critical"}


@pytest.fixture(scope="module")
def node(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that serves a model to predict, classify and regress with as version 1 of m."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    site = Site(KafkaConnection(bootstrap_servers), name, tmp_path_factory.mktemp("fuzz"))

    async def publish() -> None:
        async with site.publisher() as publisher:
            await publisher.publish(MODEL, 1, model("half_plus_two_zoo"), wait="fleet", timeout=60)

    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.consumer", *site.arguments()],
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")},
    )
    found = Node(process)
    collector = threading.Thread(target=found.collect)
    collector.start()
    try:
        assert found.started.wait(60), found.events
        asyncio.run(publish())
        yield found
    finally:
        process.terminate()
        assert process.wait(60) == 0
        collector.join()
        assert process.stderr
        process.stderr.close()


@pytest.fixture(autouse=True)
def _same(node: Node) -> Iterator[None]:
    workers = node.workers()
    yield
    node.check()
    assert node.workers() == workers


@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_as_described(node: Node, label: str) -> None:
    """Any request to a path gets a status, a content type and a body that its description has."""
    is_administered = "repository" in label

    @settings(FUZZ, max_examples=max(4, EXAMPLES // 8))
    @given(case=cases(label), is_known=st.booleans())
    def ask(case: Case, is_known: bool) -> None:
        parameters = case.path_parameters
        if is_known and not is_administered and "model" in parameters:
            parameters["model"] = MODEL
            if "number" in parameters:
                parameters["number"] = "1"
        if MIN_CONTROL_OFFSET in case.headers:
            # Most of what is drawn lies behind the end of the log, and is waited for.
            case.headers[TIMEOUT] = "200"
        response = case.call(base_url=node.url, timeout=_TIMEOUT_SECONDS)
        case.validate_response(response, checks=CHECKS)
        assert b"the node failed" not in response.content

    ask()


BODIES: Final = {
    Encoding.TENSORFLOW_JSON: f"/v1/models/{MODEL}:predict",
    Encoding.CLASSIFICATION_JSON: f"/v1/models/{MODEL}:classify",
    Encoding.REGRESSION_JSON: f"/v1/models/{MODEL}:regress",
    Encoding.OPEN_INFERENCE_JSON: f"/v2/models/{MODEL}/infer",
}
STATUSES: Final = {200, 400, 501}


def test_any_body_has_a_documented_status(node: Node) -> None:
    """What is no request in JSON, or a hostile one, is refused as described."""
    with requests.Session() as session:
        for encoding, payload in collected(EXAMPLES):
            path = BODIES.get(encoding)
            if path is None:
                continue
            is_framed = encoding is Encoding.OPEN_INFERENCE_JSON
            body, headers = (payload[4:] if is_framed else payload), dict[str, str]()
            if is_framed and len(payload) >= 4:
                length = int.from_bytes(payload[:4], "little")
                headers["Inference-Header-Content-Length"] = str(length)
            answer = session.post(f"{node.url}{path}", data=body, headers=headers, timeout=30)
            assert answer.status_code in STATUSES, (answer.text[:200], payload[:100])
            assert answer.status_code == 200 or answer.json().keys() == {"error"}


def _garbage(chance: random.Random, door: str) -> bytes:
    """Return what is no request: noise, half of one, or one with noise in it."""
    if door == "grpc":
        start = PREFACE + b"\0\0\0\4\0\0\0\0\0"
        frame = chance.randrange(64).to_bytes(3, "big") + chance.randbytes(6)
    else:
        start = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: a\r\n".encode()
        frame = chance.choice(
            [
                *(b"Content-Length: 99\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
                *(
                    b"Content-Length: -1\r\n\r\n",
                    b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n",
                ),
                *(b"X: " + b"a" * 20_000, b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", b"\r\n"),
            ]
        )
    whole = start + frame + chance.randbytes(chance.randrange(64))
    match chance.randrange(4):
        case 0:
            return chance.randbytes(chance.randrange(1, 300))
        case 1:
            return whole[: chance.randrange(1, len(whole))]
        case 2:
            place = chance.randrange(len(whole))
            return whole[:place] + chance.randbytes(4) + whole[place + 4 :]
        case _:
            return whole


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_goes_on_after_garbage_on_a_port(node: Node, door: str) -> None:
    """Clients that speak no protocol, or stop in the middle, disturb nobody."""
    chance = random.Random(7)
    open_ones: list[socket.socket] = []
    try:
        for _ in range(SOCKETS):
            connected = socket.create_connection(("127.0.0.1", node.port(door)), _TIMEOUT_SECONDS)
            open_ones.append(connected)
            try:
                connected.sendall(_garbage(chance, door))
                if chance.random() < 0.3:
                    connected.shutdown(socket.SHUT_WR)
            except OSError:
                continue  # The node has hung up, as it may.
        node.check()
    finally:
        for each in open_ones:
            each.close()
