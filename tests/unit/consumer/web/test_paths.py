"""The paths of TensorFlow Serving's REST API."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.web.paths import Asked, What, read_path
from headrace.schemas.records import MAX_VERSION, Route


@pytest.mark.parametrize(
    ("verb", "path", "what", "route"),
    [
        ("POST", "/v1/models/m:predict", What.PREDICT, Route("m")),
        ("POST", "/v1/models/m:classify", What.CLASSIFY, Route("m")),
        ("POST", "/v1/models/m:regress", What.REGRESS, Route("m")),
        ("POST", "/V1/MODELS/M:PREDICT", What.PREDICT, Route("M")),
        ("POST", "/v1/models/m/versions/7:predict", What.PREDICT, Route("m", version=7)),
        ("POST", "/v1/models/m/versions/0007:predict", What.PREDICT, Route("m", version=7)),
        ("POST", "/v1/models/m/versions/0:predict", What.PREDICT, Route("m", version=0)),
        (
            "POST",
            f"/v1/models/m/versions/{MAX_VERSION}:predict",
            What.PREDICT,
            Route("m", version=MAX_VERSION),
        ),
        ("POST", "/v1/models/m/labels/a%20b:predict", What.PREDICT, Route("m", label="a b")),
        ("POST", "/v1/models/a%2Fb%3Ac%25:predict", What.PREDICT, Route("a/b:c%")),
        ("GET", "/v1/models/m", What.STATUS, Route("m")),
        ("HEAD", "/v1/models/m", What.STATUS, Route("m")),
        ("GET", "/v1/models/m/versions/7", What.STATUS, Route("m", version=7)),
        ("GET", "/v1/models/m/labels/l", What.STATUS, Route("m", label="l")),
        ("GET", "/v1/models/m/metadata", What.METADATA, Route("m")),
        ("GET", "/v1/models/m/versions/7/Metadata", What.METADATA, Route("m", version=7)),
        ("GET", "/v1/models/m/labels/l/metadata", What.METADATA, Route("m", label="l")),
        ("GET", "/v1/models/metadata", What.STATUS, Route("metadata")),
    ],
)
def test_path_names_what_is_asked_of_which_version(
    verb: str, path: str, what: What, route: Route
) -> None:
    """Words in any case; names are decoded after the path is taken apart."""
    assert read_path(verb, path) == Asked(what, route)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m"),
        ("PUT", "/v1/models/m:predict"),
        ("POST", "/v1/models/m:explain"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/a/b:predict"),
        ("POST", "/v1/models/a:b:predict"),
        ("POST", "/v1/models/m/versions/:predict"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("POST", "/v1/models/m/versions/٣:predict"),
        ("POST", "/v1/models/m/versions/1/labels/l:predict"),
        ("POST", f"/v1/models/m/versions/{MAX_VERSION + 1}:predict"),
        ("POST", f"/v1/models/m/versions/{'9' * 5000}:predict"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/nonsense"),
        ("GET", "/v1/"),
    ],
)
def test_other_paths_are_malformed(verb: str, path: str) -> None:
    """The error repeats the request."""
    with pytest.raises(InvalidRequest) as raised:
        read_path(verb, path)
    assert str(raised.value) == f"Malformed request: {verb} {path}"


def test_status_needs_a_model() -> None:
    """The status of all models is not told."""
    for path in ("/v1/models", "/V1/Models"):
        with pytest.raises(InvalidRequest, match="Missing model name in request"):
            read_path("GET", path)


@given(
    verb=st.sampled_from(["GET", "POST"]), rest=st.text(), tail=st.sampled_from(["", ":predict"])
)
def test_no_path_breaks_the_reader(verb: str, rest: str, tail: str) -> None:
    """It is understood or refused."""
    try:
        asked = read_path(verb, f"/v1/models/{rest}{tail}")
    except InvalidRequest:
        return
    assert asked.route.model
