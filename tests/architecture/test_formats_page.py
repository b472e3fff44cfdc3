"""The examples of docs/formats.md, run against the formats themselves."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from headrace.consumer.core.calls import Encoding
from headrace.consumer.core.codes import Code
from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.open_inference import OpenInference
from headrace.consumer.formats.ordinary import Codec
from headrace.consumer.formats.request import InferRequest
from headrace.consumer.formats.tensorflow_json import TensorFlowJson
from headrace.consumer.formats.tensorflow_serving import TensorFlowServing
from headrace.consumer.platforms.platform import Array
from headrace.consumer.stream import content
from headrace.consumer.stream.content import content_of
from tests.unit.consumer.formats.arithmetic import signature

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = [block for block in BLOCKS if "from ask import" in block and "confluent" not in block]
MODEL, VERSION = "half_plus_two", 42
DEFAULT = signature(
    "serving_default", {"x": (np.float32, (None, 1))}, {"y": (np.float32, (None, 1))}
)


def answer(encoding: Encoding, value: bytes) -> bytes:
    """Return the answer of the model to an encoded request."""
    codecs: dict[Encoding, Codec] = {
        Encoding.AVRO: Avro(MODEL, VERSION),
        Encoding.TENSORFLOW_SERVING: TensorFlowServing(MODEL, VERSION),
        Encoding.OPEN_INFERENCE: OpenInference(MODEL, VERSION),
        Encoding.TENSORFLOW_JSON: TensorFlowJson({DEFAULT.name: DEFAULT}),
    }
    codec = codecs[encoding]
    request = codec.read(value)
    assert not isinstance(request, InvalidRequest), request
    return codec.write("", run(request), request.style)


def run(request: InferRequest) -> Mapping[str, Array]:
    """Return x / 2 + 2."""
    assert request.inputs["x"].dtype == np.float32
    return {"y": request.inputs["x"] / 2 + 2}


class Door:
    """What stands for `ask.py`: the door's part of an answer, without Kafka."""

    def __init__(self, refusal: str = "") -> None:
        self._refusal = refusal

    def ask(
        self, value: bytes, content_type: str | None = None, **headers: str
    ) -> tuple[bytes, dict[str, str]]:
        """Return an answer's value and headers."""
        kind = content_of(content_type.encode() if content_type else None)
        route = kind.read_route(value, {name: text.encode() for name, text in headers.items()})
        assert route.model == MODEL
        if self._refusal:
            error = kind.encode_error(Code.NOT_FOUND, self._refusal, MODEL, None)
            return error.value, {"error-code": "NOT_FOUND"}
        return answer(kind.encoding, value), {"version": str(VERSION)}


def execute(example: str, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an example as a script beside `ask.py`."""
    ask = ModuleType("ask")
    ask.__dict__["ask"] = door.ask
    monkeypatch.setitem(sys.modules, "ask", ask)
    exec(compile(example, "docs/formats.md", "exec"), {})


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_asks_and_understands_the_answer(
    example: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each prints the outputs and the version."""
    execute(example, Door(), monkeypatch)
    printed = capsys.readouterr().out
    assert [float(number) for number in re.findall(r"\d+\.\d*", printed)] == [2.5, 3, 4.5]
    assert printed.strip().endswith(str(VERSION))


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_ends_on_an_error(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shows how an error is told."""
    with pytest.raises(SystemExit, match="NOT_FOUND"):
        execute(example, Door("no such model"), monkeypatch)


@pytest.mark.parametrize("block", BLOCKS)
def test_imports_of_the_page_work(block: str) -> None:
    """Also of those examples that need a Kafka or a registry."""
    compile(block, "docs/formats.md", "exec")
    for module, names in re.findall(r"^from ([\w.]+) import (.+)$", block, re.MULTILINE):
        if module != "ask":
            for name in names.split(", "):
                assert hasattr(importlib.import_module(module), name)


def test_every_content_type_is_on_the_page() -> None:
    """Those of requests, of answers and of errors."""
    for accepted in content.ACCEPTED:
        assert f"`{accepted}`" in PAGE
        answer_type = content_of(accepted.encode()).answer_type
        assert answer_type
        assert f"`{answer_type.decode()}`" in PAGE
    assert f"`{content.STATUS_TYPE.decode()}`" in PAGE
