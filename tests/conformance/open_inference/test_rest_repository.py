"""The model repository of Open Inference over REST, by plain HTTP."""

from __future__ import annotations

import pytest

from tests.conformance.open_inference.models import EVERY_KIND, HALF_PLUS_TWO
from tests.conformance.open_inference.rest import Answer, Ask
from tests.conformance.open_inference.stage import Stage
from tests.models import model


def states(answer: Answer) -> dict[tuple[str, str], str]:
    """Return the state by model and version."""
    assert answer.status == 200
    assert all(each.keys() == {"name", "version", "state", "reason"} for each in answer.json)
    return {(each["name"], each["version"]): each["state"] for each in answer.json}


def test_repository_index(ask: Ask) -> None:
    """REST twins: POST v2/repository/index."""
    found = states(ask("POST", "/v2/repository/index", {}))
    assert {found[name, "1"] for name in (*HALF_PLUS_TWO, *EVERY_KIND)} == {"READY"}


def test_repository_load_and_unload(ask: Ask, stage: Stage) -> None:
    """POST v2/repository/models/{name}/load|unload, which block until done."""
    stage.run(stage.publisher.publish("rested", 1, model("half_plus_two_tf1"), wait="fleet"))
    try:
        body = {"parameters": {"unload_dependents": False}}
        assert ask("POST", "/v2/repository/models/rested/unload", body).status == 200
        assert states(ask("POST", "/v2/repository/index"))["rested", "1"] == "UNAVAILABLE"
        ready = states(ask("POST", "/v2/repository/index", {"ready": True}))
        assert ("rested", "1") not in ready
        assert ("tf2", "1") in ready
        assert ask("GET", "/v2/models/rested/ready").status == 404
        assert ask("POST", "/v2/repository/models/rested/load").status == 200
        assert ask("GET", "/v2/models/rested/ready").status == 200
        refused = {"parameters": {"config": "{}"}}
        answer = ask("POST", "/v2/repository/models/rested/load", refused)
        assert (answer.status, list(answer.json)) == (400, ["error"])
    finally:
        stage.run(stage.publisher.forget("rested", force=True))


@pytest.mark.parametrize("change", ["load", "unload"])
def test_repository_change_of_an_unknown_model(ask: Ask, change: str) -> None:
    """Error body {"error": text}."""
    answer = ask("POST", f"/v2/repository/models/nobody/{change}")
    assert (answer.status, list(answer.json)) == (404, ["error"])
