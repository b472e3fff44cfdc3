"""Many at once: to the last byte what the ordinary path gives, whatever comes together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.consumer.formats import vectorised
from headrace.consumer.formats.avro import Avro
from headrace.consumer.formats.open_inference import OpenInference, Style
from headrace.consumer.formats.ordinary import Ordinary
from headrace.consumer.formats.request import Alike, Format, Refused
from headrace.consumer.formats.tensorflow_serving import TensorFlowServing
from headrace.consumer.formats.vectorised import RawCodec, Vectorised
from headrace.consumer.platforms.platform import Array
from headrace.schemas.tensors import NUMPY_DTYPES
from tests.unit.consumer.formats import payloads
from tests.unit.consumer.formats.payloads import Form, filled, one_by_one

CODECS: dict[str, tuple[Callable[[], RawCodec], Callable[[Form, int], bytes]]] = {
    "avro": (lambda: Avro("m", 7), payloads.avro),
    "typed": (lambda: TensorFlowServing("m", 7), payloads.typed_predict),
    "packed": (lambda: TensorFlowServing("m", 7), payloads.packed_predict),
    "typed infer": (lambda: OpenInference("m", 7), payloads.typed_infer),
    "packed infer": (lambda: OpenInference("m", 7), payloads.packed_infer),
}
STYLES: dict[str, tuple[str, Hashable]] = {
    "avro": ("avro", None),
    "TensorFlow Serving": ("typed", None),
    "Open Inference, typed": ("typed infer", Style("id", is_raw=False)),
    "Open Inference, packed": ("packed infer", Style("", is_raw=True)),
}
FLOATS = np.dtype(np.float32)


@pytest.mark.parametrize("name", CODECS)
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_reads_what_the_ordinary_path_reads(name: str, data: st.DataObject) -> None:
    """Requests and refusals are the same, while layouts are learned and once they are known."""
    codec, encode = CODECS[name]
    ours, oracle = Vectorised(codec()), Ordinary(codec())
    for _ in range(2):
        mix = data.draw(payloads.mixes(encode))
        expected = one_by_one(oracle.decode(mix))
        assert one_by_one(ours.decode(mix)) == expected
        assert one_by_one(ours.decode(mix)) == expected


outputs_of_one = st.dictionaries(
    st.sampled_from(["y", "z", "x" * 200]),
    st.tuples(
        st.sampled_from([*payloads.DTYPES, np.dtype(ml_dtypes.bfloat16), np.dtype("M8[s]")]),
        payloads.shapes,
    ),
    max_size=3,
)


def written(
    codec: Format, outputs: dict[str, Array], count: int, style: Hashable
) -> list[bytes] | str:
    """Return the answers, or why there are none."""
    try:
        return codec.encode("serving_default", outputs, count, style)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(("name", "style"), STYLES.values(), ids=STYLES)
@settings(deadline=None, max_examples=300)
@given(outputs=outputs_of_one, count=st.integers(1, 9), seed=st.integers(0, 99))
def test_writes_what_the_ordinary_path_writes(
    name: str,
    style: Hashable,
    outputs: dict[str, tuple[np.dtype[Any], tuple[int, ...]]],
    count: int,
    seed: int,
) -> None:
    """Answers are the same bytes, and what cannot be carried is refused in the same words."""
    codec, _ = CODECS[name]
    ours, oracle = Vectorised(codec()), Ordinary(codec())
    for turn in range(2):
        arrays = {
            alias: filled(dtype, (count, *shape), seed + turn)
            for alias, (dtype, shape) in outputs.items()
        }
        assert written(ours, arrays, count, style) == written(oracle, arrays, count, style)


@pytest.mark.parametrize("dtype", NUMPY_DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 1, 3)], ids=str)
def test_takes_alike_requests_as_one(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Every dtype of fixed size is read by columns, beside an empty and a scalar tensor."""
    form = Form("", {"a": (dtype, shape), "b": (FLOATS, ()), "c": (FLOATS, (0, 2))})
    [alike] = Vectorised(Avro("m", 7)).decode([payloads.avro(form, seed) for seed in range(40)])
    assert isinstance(alike, Alike)
    assert alike.positions == range(40)
    assert alike.request.inputs["a"].shape == (40, *shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.bool_, np.int8])
def test_takes_alike_packed_tensors_of_open_inference_as_one(dtype: Any) -> None:  # noqa: ANN401
    """They are read by columns, beside an empty and a scalar tensor."""
    kind = np.dtype(dtype)
    form = Form("", {"a": (kind, (2, 3)), "b": (FLOATS, ()), "c": (FLOATS, (0, 2))})
    encoded = [payloads.packed_infer(form, seed) for seed in range(40)]
    [alike] = Vectorised(OpenInference("m", 7)).decode(encoded)
    assert isinstance(alike, Alike)
    assert alike.positions == range(40)
    assert (alike.request.inputs["a"].dtype, alike.request.inputs["a"].shape) == (kind, (40, 2, 3))


def test_knows_again_what_it_has_learned() -> None:
    """Two requests are too few to learn from, and enough for what is known."""
    form = Form("", {"a": (FLOATS, (2,))})
    ours = Vectorised(Avro("m", 7))
    two = [payloads.avro(form, seed) for seed in (1, 2)]
    assert len(list(ours.decode(two))) == 2
    list(ours.decode(two * 2))
    assert len(list(ours.decode(two))) == 1


def test_tensors_of_equal_bytes_are_not_mistaken_for_each_other() -> None:
    """Learning from a message whose tensors are all equal tells them apart all the same."""
    form = Form("", {"b": (FLOATS, (2,)), "a": (FLOATS, (2,))})
    for codec, encode in CODECS.values():
        ours, oracle = Vectorised(codec()), Ordinary(codec())
        zeros, other = encode(form, 0), encode(form, 5)
        mix = [zeros] * 4 + [other] * 4
        assert one_by_one(ours.decode(mix)) == one_by_one(oracle.decode(mix))


def test_a_bool_that_is_none_is_refused_alone() -> None:
    """A byte other than 0 and 1 takes its own request to the ordinary path."""
    form = Form("", {"a": (np.dtype(np.bool_), (3,))})
    good = payloads.avro(form, 1)
    bad = good.replace(b"\x06" + filled(*form.inputs["a"], 1).tobytes(), b"\x06\x00\x01\x02")
    decoded = Vectorised(Avro("m", 7)).decode([good, good, bad, good, good])
    [alike, refused] = decoded
    assert isinstance(alike, Alike)
    assert alike.positions == [0, 1, 3, 4]
    assert isinstance(refused, Refused)
    assert "bool has a byte other" in str(refused.error)


def test_remembers_no_more_than_so_many_lengths() -> None:
    """Requests of ever new lengths do not fill the memory: the oldest are forgotten."""
    ours = Vectorised(Avro("m", 7))
    pairs = [[payloads.avro(Form("", {"a": (FLOATS, (n,))}), s) for s in (1, 2)] for n in range(99)]
    for pair in pairs:
        assert len(list(ours.decode(pair * 4))) == 1
    assert len(list(ours.decode(pairs[-1]))) == 1
    assert len(list(ours.decode(pairs[0]))) == 2


@pytest.mark.parametrize("size", [vectorised.MAX_PAYLOAD_BYTES // 4 - 100, 100_000])
def test_large_requests_are_read_as_any(size: int) -> None:
    """Below and above the size up to which columns are copied, answers are the same."""
    form = Form("", {"a": (FLOATS, (size,))})
    mix = [payloads.avro(form, seed) for seed in range(5)]
    ours, oracle = Vectorised(Avro("m", 7)), Ordinary(Avro("m", 7))
    assert one_by_one(ours.decode(mix)) == one_by_one(oracle.decode(mix))
