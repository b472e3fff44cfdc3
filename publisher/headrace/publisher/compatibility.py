"""Whether those who call one version of a model can call another: a comparison of interfaces.

Pure. What counts is that every request which the one takes fits the other, and that its answer has
what readers of the one's answers look for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.schemas.records import SignatureSpec, TensorSpec


def breaks(before: Sequence[SignatureSpec], after: Sequence[SignatureSpec]) -> list[str]:
    """Return in words what callers of `before` lose with `after`; nothing when they are compatible.

    A signature, input or output more is no loss, unless it is an input that callers have to send.
    """
    found: list[str] = []
    there = {signature.name: signature for signature in after}
    for old in before:
        new = there.get(old.name)
        if new is None:
            found.append(f"signature {old.name!r} is gone")
        else:
            found += [f"signature {old.name!r}: {words}" for words in _losses(old, new)]
    return found


def _losses(old: SignatureSpec, new: SignatureSpec) -> Iterator[str]:
    yield from _missing("input", old.inputs, new.inputs)
    yield from _missing("output", old.outputs, new.outputs)
    known = {spec.name: spec for spec in old.inputs}
    for spec in new.inputs:
        before = known.get(spec.name)
        if before is None:
            if not spec.is_optional:
                yield f"input {spec.name!r}, {shown(spec)}, is new, and callers do not send it"
        elif before.dtype != spec.dtype or not takes(spec.shape, before.shape):
            yield f"input {spec.name!r} was {shown(before)}, and is {shown(spec)}"
        elif before.is_optional and not spec.is_optional:
            yield f"input {spec.name!r} could be left out, and cannot any more"
    given = {spec.name: spec for spec in new.outputs}
    for before in old.outputs:
        spec = given.get(before.name, before)
        if before.dtype != spec.dtype or not may_be(spec.shape, before.shape):
            yield f"output {spec.name!r} was {shown(before)}, and is {shown(spec)}"


def _missing(what: str, old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[str]:
    there = {spec.name for spec in new}
    for spec in old:
        if spec.name not in there:
            yield f"{what} {spec.name!r}, {shown(spec)}, is gone"


def takes(shape: Sequence[int] | None, given: Sequence[int] | None) -> bool:
    """Whether everything of the shape `given` fits an input of this shape."""
    if shape is None:
        return True
    return (
        given is not None
        and len(shape) == len(given)
        and all(size in {-1, each} for size, each in zip(shape, given, strict=True))
    )


def may_be(shape: Sequence[int] | None, expected: Sequence[int] | None) -> bool:
    """Whether an output of this shape may have the shape that its readers expect."""
    if shape is None or expected is None:
        return True
    return len(shape) == len(expected) and all(
        size == each or -1 in {size, each} for size, each in zip(shape, expected, strict=True)
    )


def shown(spec: TensorSpec) -> str:
    """Return dtype and shape as a reader wants them: `float32 (?, 3)`."""
    if spec.shape is None:
        return f"{spec.dtype} of any shape"
    sizes = ", ".join("?" if size < 0 else str(size) for size in spec.shape)
    return f"{spec.dtype} ({sizes})"
