"""A door refuses to feed on what it writes."""

import pytest

from headrace.consumer.core.errors import NodeError
from headrace.consumer.stream.options import StreamOptions


def test_reads_the_request_topic_of_the_deployment_by_default() -> None:
    """Without topics or a pattern there is one place where requests come from."""
    assert StreamOptions(node="n").subscribed == ("headrace.requests",)


def test_a_pattern_replaces_the_names() -> None:
    """With a pattern no topic is subscribed by name."""
    assert StreamOptions(node="n", request_pattern=r"requests\..*").subscribed == ()


@pytest.mark.parametrize(
    ("topics", "pattern", "words"),
    [
        (("headrace.responses",), None, "headrace.responses, which the node writes"),
        (("a", "headrace.dead-letters"), None, "headrace.dead-letters"),
        ((), r"headrace\..*", "headrace.responses, headrace.dead-letters, headrace.control"),
        ((), "[", "no regular expression"),
        (("a",), "b", "not both"),
    ],
)
def test_refuses_what_it_would_write_itself(
    topics: tuple[str, ...], pattern: str | None, words: str
) -> None:
    """The refusal names the topics."""
    with pytest.raises(NodeError, match=words.replace(".", r"\.")):
        StreamOptions(node="n", request_topics=topics, request_pattern=pattern)
