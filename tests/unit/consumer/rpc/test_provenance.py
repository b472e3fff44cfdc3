"""What an answer says of its origin."""

from dataclasses import replace

from headrace.consumer.core.choice import Choice, Reason, Serving
from headrace.consumer.rpc.provenance import Provenance
from tests.fakes.servable import FakeServable, planned_version


async def test_names_the_version_and_the_event_that_brought_it() -> None:
    """An answer can be traced to one record of the control log and one artefact."""
    planned = planned_version("ranker", 42, control_offset=17)
    choice = Choice(Serving(planned, FakeServable(planned)), Reason.SPLIT, "canary", 19)
    ((key, text),) = Provenance("node-1").of(choice)
    assert key == "headrace-provenance"
    assert text == (
        f"model=ranker version=42 control-offset=17 artifact-digest=sha256:{42:064x} node=node-1 "
        "plan-offset=19 routed-by=split arm=canary"
    )


async def test_says_the_same_thing_without_composing_it_again() -> None:
    """The text is made once per version, and not for every call."""
    planned = planned_version("ranker", 42)
    choice = Choice(Serving(planned, FakeServable(planned)))
    provenance = Provenance("node-1")
    assert provenance.of(choice) is provenance.of(choice)


async def test_foreign_text_cannot_become_an_illegal_header() -> None:
    """A digest is what a publisher wrote; line ends or umlauts in it must not break every call."""
    planned = planned_version("ranker", 42)
    planned = replace(planned, record=replace(planned.record, digest="sha256:ä\r\n x"))
    ((_, text),) = Provenance("nöde").of(Choice(Serving(planned, FakeServable(planned))))
    assert "artifact-digest=sha256:%C3%A4%0D%0A%20x node=n%C3%B6de" in text
