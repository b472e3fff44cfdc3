"""`headrace dead-letters` on a real topic, as an operator and as a script use it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from headrace.publisher.connection import KafkaConnection
from headrace.publisher.topics import ensure_topics
from headrace.schemas.codec import encode
from headrace.schemas.records import InferenceRequest
from headrace.schemas.tensors import to_tensor
from headrace.schemas.topics import Topics, specs
from tests.integration.cli.programs import Ended, headrace

BAD = bytes(range(256)) * 2


class Shell:
    """Runs `headrace dead-letters` on topics of one test alone."""

    def __init__(self, servers: str, topics: Topics) -> None:
        self._environment = {
            "HEADRACE_BOOTSTRAP_SERVERS": servers,
            "HEADRACE_DEAD_LETTER_TOPIC": topics.dead_letters,
        }

    async def __call__(self, *arguments: str) -> Ended:
        """Return how the command ended."""
        return await headrace("dead-letters", *arguments, **self._environment)

    def at_terminal(self, typed: bytes, *arguments: str) -> tuple[int, bytes]:
        """Run the command on a terminal; return its exit code and what the terminal showed."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "headrace.cli", "dead-letters", *arguments]
        environment = os.environ | self._environment | {"COLUMNS": "200", "TERM": "dumb"}
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        ) as process:
            os.close(theirs)
            shown = b""
            try:
                os.write(ours, typed)
                # A terminal that nobody holds any more ends with an error.
                with suppress(OSError):
                    while piece := os.read(ours, 65536):
                        shown += piece
                return process.wait(timeout=30), shown
            finally:
                process.kill()
                os.close(ours)


@pytest.fixture
async def shell(bootstrap_servers: str, topic_prefix: str) -> Shell:
    """Three letters: one that nobody can read, a request for ranker, one without an origin."""
    topics = Topics(requests=f"{topic_prefix}requests", dead_letters=f"{topic_prefix}dead-letters")
    connection = KafkaConnection(bootstrap_servers)
    await ensure_topics(connection, specs(topics, request_partitions=2))
    origin = [
        ("correlation-id", b"c-1"),
        ("origin-topic", topics.requests.encode()),
        ("origin-partition", b"1"),
        ("origin-offset", b"5"),
    ]
    request = InferenceRequest(
        model="ranker", inputs=(to_tensor("x", [float(n) for n in range(20)]),)
    )
    async with connection.producer() as producer:
        for key, value, headers in (
            (b"\xff\x1b[31m", BAD, [*origin, ("reason", b"no schema\nreads it")]),
            (b"user-1", encode(request), [*origin, ("reason", b"no such reply topic")]),
            (b"stray", b"{}", []),
        ):
            await (
                await producer.send(
                    topics.dead_letters, key=key, value=value, headers=headers, partition=0
                )
            )
    return Shell(bootstrap_servers, topics)


async def test_lists_lines_of_json_for_scripts(shell: Shell) -> None:
    """Newest first, one object a line; filters choose, and the limit is told."""
    ended = await shell("list", "--json")
    assert (ended.code, ended.err) == (0, "")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["offset"] for row in rows] == [2, 1, 0]
    assert rows[0]["origin"] is None
    assert rows[1]["origin"] | {"topic": ""} == {"topic": "", "partition": 1, "offset": 5}
    assert (rows[1]["key"], rows[1]["model"]) == ("user-1", "ranker")
    assert rows[1]["replayed"] is None
    assert rows[2]["key"] == {"b64": "/xtbMzFt"}
    assert rows[2]["size_bytes"] == len(BAD) + 6
    one = await shell("list", "--json", "--reason", "REPLY", "--since", "1h", "--model", "ranker")
    assert [json.loads(line)["offset"] for line in one.out.splitlines()] == [1]
    limited = await shell("list", "--json", "--limit", "1")
    assert json.loads(limited.out)["offset"] == 2
    assert limited.err == "the newest 1; --limit 0 shows all\n"
    none = await shell("list", "--until", "1h")
    assert (none.code, none.out, none.err) == (0, "", "no dead letters that fit\n")


async def test_shows_letters_to_people(shell: Shell) -> None:
    """A table and a page without anything that a terminal would obey."""
    ended = await shell("list")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert len(ended.out.splitlines()) == 4
    assert "no schema\\nreads it" in ended.out
    request = (await shell("show", "1")).out
    assert "reason   no such reply topic" in request
    assert "header   correlation-id: c-1" in request
    assert "input    x: float64 [20] [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]" in request
    bad = (await shell("show", "0:0")).out
    assert "value    512 bytes that no schema reads:" in bad
    assert "000050  50 51 52 53" in bad
    assert "256 bytes more: --raw FILE" in bad
    assert "\x1b" not in bad


async def test_shows_a_letter_as_json_and_writes_its_bytes(shell: Shell, tmp_path: Path) -> None:
    """What a script needs of one letter, and the original byte for byte."""
    ended = await shell("show", "1", "--json")
    shown = json.loads(ended.out)
    assert shown["value"]["inputs"][0]["shape"] == [20]
    assert shown["headers"] == [["correlation-id", "c-1"]]
    file = tmp_path / "value"
    assert (await shell("show", "0", "--raw", str(file))).code == 0
    assert file.read_bytes() == BAD
    assert (await shell("show", "2", "--raw", "-")).out == "{}"
    missing = await shell("show", "0:77")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.startswith("error: no dead letter 0:77")
    nowhere = await shell("show", "2", "--raw", str(tmp_path / "no" / "file"))
    assert nowhere.err.startswith(f"error: cannot write to {tmp_path / 'no' / 'file'}")


async def test_replays_once_and_says_what_became_of_each_letter(shell: Shell) -> None:
    """A rehearsal changes nothing; then letters go out, are marked, and are skipped."""
    rehearsed = await shell("replay", "--all", "--dry-run")
    assert rehearsed.code == 1
    assert [line.split(" to ")[0] for line in rehearsed.out.splitlines()] == [
        "would replay 0:0",
        "would replay 0:1",
    ]
    assert "dry run: 2 replayed, 1 refused" in rehearsed.err
    assert "error: dead letter 0:2 names no origin: --to-topic says where it goes" in rehearsed.err
    done = await shell("replay", "1", "--json")
    report = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert [(each["offset"], each["to"][-2:]) for each in report["replayed"]] == [(1, "/1")]
    assert (report["skipped"], report["refused"], report["dry_run"]) == ([], [], False)
    again = await shell("replay", "0:0", "0:1", "--yes")
    assert again.code == 0
    assert again.out.startswith("replayed 0:0 to ")
    assert "skipped 0:1: it was replayed before: --again replays it once more" in again.err
    rows = [json.loads(line) for line in (await shell("list", "--json")).out.splitlines()]
    assert [row["replayed"] is None for row in rows] == [True, False, False]


@pytest.mark.parametrize(("answer", "code", "is_sent"), [(b"n\n", 1, False), (b"y\n", 0, True)])
async def test_asks_before_it_sends_on_a_terminal(
    shell: Shell, answer: bytes, code: int, is_sent: bool
) -> None:
    """Whoever sits at a terminal is told how many letters go where, and may say no."""
    ended, said = await asyncio.to_thread(shell.at_terminal, answer, "replay", "0:0")
    assert ended == code, said
    assert b"send 1 dead letters to where they came from? [y/N]" in said
    assert (b"replayed 0:0 to" in said) is is_sent
    row = await shell("list", "--json", "--until", "2099-01-01", "--reason", "no schema")
    assert (json.loads(row.out)["replayed"] is not None) is is_sent
