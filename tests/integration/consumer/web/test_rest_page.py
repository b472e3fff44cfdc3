"""The examples of docs/rest.md against real models, and its tables against the code."""

from __future__ import annotations

import json
import re
import shlex
from http import HTTPMethod
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from headrace.consumer.core.codes import Code
from headrace.consumer.web.errors import HTTP_STATUS
from headrace.consumer.web.provenance import HEADERS
from tests.integration.consumer.web.rig import ask

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "rest.md").read_text()
EXAMPLES = re.findall(r"^curl (.*)\n(\{.*\})$", PAGE, re.MULTILINE)
API: dict[str, Any] = yaml.safe_load((DOCS / "openapi.yaml").read_text())
OPERATIONS = [
    (verb.upper(), path, operation)
    for path, item in API["paths"].items()
    for verb, operation in item.items()
    if verb != "parameters"
]
FILLED = {"model": "half_plus_two", "number": "3", "label": "stable", "version": "3"}


@pytest.mark.parametrize(("command", "answer"), EXAMPLES, ids=[each for each, _ in EXAMPLES])
async def test_example_gives_what_the_page_says(
    real: aiohttp.ClientSession, command: str, answer: str
) -> None:
    """Every curl line is sent as curl would."""
    *options, url = shlex.split(command)
    assert options[:-1] in ([], ["-d"])
    data = options[-1].encode() if options else None
    path = url.removeprefix("localhost:8501")
    reply = await ask(real, "POST" if data else "GET", path, data)
    assert reply.body == json.loads(answer)


async def test_every_status_and_header_is_on_the_page() -> None:
    """The table of codes is the code's."""
    rows = dict(re.findall(r"^\| (\d{3}) \| (.*) \|$", PAGE, re.MULTILINE))
    for code in Code:
        if code is not Code.OK:
            assert code.name in rows[str(HTTP_STATUS[code])]
    for header in HEADERS:
        assert f"`{header}`" in PAGE


@pytest.mark.parametrize(
    ("verb", "path", "operation"),
    OPERATIONS,
    ids=[f"{verb} {path}" for verb, path, _ in OPERATIONS],
)
async def test_every_described_operation_is_there_and_answers_as_described(
    real: aiohttp.ClientSession, verb: str, path: str, operation: dict[str, Any]
) -> None:
    """With an empty object, which few of them want; the path is known all the same."""
    body = b"{}" if verb == HTTPMethod.POST else None
    if "classify" in path or "regress" in path:
        body = None
    reply = await ask(real, verb, path.format(**FILLED), body)
    assert str(reply.status) in operation["responses"]
    if reply.status >= 400:
        assert not re.match("Malformed request|Not Found:", reply.body["error"])
