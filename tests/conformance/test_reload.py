"""facts/tfserving.md 3.3, HandleReloadConfigRequest."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import grpc
import pytest

from headrace.protos import tensorflow_serving_pb2 as ours
from tests.conformance.node import Doors, running_node
from tests.conformance.tensorflow_serving import (
    STYLES,
    Client,
    Refusal,
    called,
    outputs_of,
    predict_request,
    spec,
)
from tests.e2e.rig import Site
from tests.integration.consumer.rpc.official import ReloadConfigRequest
from tests.models import model
from tests.python_models import write_python

BUILT = {"tf1": "half_plus_two_tf1", "tf2": "half_plus_two"}
X = {"x": [[1.0], [2.0], [5.0]]}
Y = {"y": [[2.5], [3.0], [4.5]]}
AVAILABLE, END = 30, 50
TWO = {"model_version_policy": {"latest": {"num_versions": 2}}}
Wish = Mapping[str, Any]


class Told(NamedTuple):
    """A node that is told what to serve, and the folders that it is told of."""

    site: Site
    doors: Doors
    client: Client

    def base(self, name: str, *versions: str, built: str = "half_plus_two") -> str:
        """Write version folders, and return their base path."""
        folder = self.site.folder / "models" / name
        for version in versions:
            shutil.copytree(model(built), folder / version)
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def reload(self, *wishes: Wish) -> ours.ReloadConfigResponse:
        """Ask for exactly these models."""
        return called(self.client.models.HandleReloadConfigRequest, request_of(*wishes), 60)


def request_of(*wishes: Wish) -> ours.ReloadConfigRequest:
    """Return a request for models."""
    request = ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for wish in wishes:
        request.config.model_config_list.config.add(**{"model_platform": "tensorflow"} | {**wish})
    return request


@pytest.fixture(scope="module")
def told(own_site: Site) -> Iterator[Told]:
    """A node that serves a model in Python, which it was not told of by a client."""

    async def publish() -> None:
        folder = write_python("half_plus_two", own_site.folder / "python")
        async with own_site.publisher() as publisher:
            await publisher.publish("python", 1, folder, wait="fleet")

    store = (own_site.folder / "store").as_uri()
    with running_node(own_site, load_attempts=1, store=store) as doors:
        asyncio.run(publish())
        with grpc.insecure_channel(doors.grpc) as channel:
            yield Told(own_site, doors, Client(channel))


def states(told: Told, name: str) -> dict[int, int]:
    """Return the states of a model's versions, by number."""
    return {each.version: int(each.state) for each in told.client.status(spec(name))}


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"base_path": "models/m"}, "absolute path"),
        ({"base_path": ""}, "absolute path"),
        ({"model_platform": ""}, "setting neither"),
        ({"model_platform": "caffe"}, "caffe"),
        ({"model_type": 1}, "setting both"),
        ({"model_platform": "", "model_type": 2}, "model_type choice 2"),
        ({"name": "other"}, "multiple times"),
        ({"name": "python"}, "Illegal to change a model's platform"),
        ({"logging_config": {}}, "logging_config"),
    ],
    ids=[
        "relative path",
        "no path",
        "unset platform",
        "unknown platform",
        "both platform fields",
        "unknown model_type",
        "duplicate name",
        "changed platform",
        "logging_config (2.2: 'no request-logger-creator')",
    ],
)
def test_refused(told: Told, wish: Wish, words: str) -> None:
    """'duplicate name, relative path, unset/unknown/both platform fields, changed platform →
    INVALID_ARGUMENT'. 'Same status is also the gRPC status.' Nothing changes.
    """
    base = told.base("refused")
    if not (told.site.folder / "models/refused/1").exists():
        told.base("refused", "1")
    with pytest.raises(Refusal) as refused:
        told.reload(
            {"name": "m", "base_path": base} | {**wish}, {"name": "other", "base_path": base}
        )
    assert refused.value.code == "INVALID_ARGUMENT"
    assert words in refused.value.message
    assert states(told, "python") == {1: AVAILABLE}


@pytest.mark.parametrize("kind", ["nothing", "custom_model_config"])
def test_only_lists_of_models(told: Told, kind: str) -> None:
    """'no model_config_list → INVALID_ARGUMENT'; 'Only list→list transitions are legal'.

    A custom configuration is INVALID_ARGUMENT here, too: there is none to go over to.
    """
    request = ReloadConfigRequest()
    if kind == "custom_model_config":
        request.config.custom_model_config.SetInParent()
    with pytest.raises(Refusal, match=r"INVALID_ARGUMENT.*ModelConfigList"):
        called(told.client.models.HandleReloadConfigRequest, request)


def test_model_that_fails_is_unknown(told: Told) -> None:
    """'model failed to load → UNKNOWN "N model(s) did not become available"'."""
    base = told.base("fails", "1", built="badly_warmed")
    good = told.base("good", "1")
    with pytest.raises(Refusal, match=r"UNKNOWN: 1 model\(s\) did not become available: fails"):
        told.reload({"name": "fails", "base_path": base}, {"name": "good", "base_path": good})
    assert states(told, "fails") == {1: END}
    assert outputs_of(told.client.predict(spec("good"), X)) == Y


@pytest.mark.parametrize("style", STYLES)
def test_serves_what_is_listed_and_nothing_else(told: Told, style: str) -> None:
    """'{config, metric_names[]} → {status, metric[] increase}'; 2.2: 'full replacement: absent
    models unload', 'none = latest 1', 'leading zeros fine'.
    """
    a = told.base(f"a_{style}", "1", "00012", "notes", built=BUILT[style])
    b = told.base(f"b_{style}", "3", built=BUILT[style])
    wishes = [{"name": f"a_{style}", "base_path": a}, {"name": f"b_{style}", "base_path": b}]
    request = request_of(*wishes)
    request.metric_names.extend(["/tensorflow/serving/x"])
    response = called(told.client.models.HandleReloadConfigRequest, request, 60)
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert [(each.name, each.int64_value_increase) for each in response.metric] == [
        ("/tensorflow/serving/x", 0)
    ]
    for name, version in ((f"a_{style}", 12), (f"b_{style}", 3)):
        answer = told.client.predict(spec(name), X)
        assert (outputs_of(answer), answer.model_spec.version.value) == (Y, version)
    told.reload(wishes[0])
    told.doors.log.event("version.ended", model=f"b_{style}", version=3)
    with pytest.raises(Refusal, match="NOT_FOUND"):
        told.client.predict(spec(f"b_{style}"), X)
    assert states(told, f"a_{style}") == {12: AVAILABLE}


@pytest.mark.parametrize(
    ("policy", "serving"),
    [
        ({}, {3}),
        ({"latest": {}}, {3}),
        ({"latest": {"num_versions": 2}}, {2, 3}),
        ({"all": {}}, {1, 2, 3}),
        ({"specific": {"versions": [1, 2, 9]}}, {1, 2}),
    ],
    ids=str,
)
def test_policy(told: Told, policy: Wish, serving: set[int]) -> None:
    """2.2: 'latest{num_versions} (0→1) highest N; all{}; specific{versions[]} (missing ones …)'."""
    name = f"policy-{'-'.join(map(str, sorted(serving)))}-{len(policy)}"
    base = told.base(name, "1", "2", "3")
    told.reload({"name": name, "base_path": base, "model_version_policy": policy})
    found = states(told, name)
    assert {version for version, state in found.items() if state == AVAILABLE} == serving


def test_labels(told: Told) -> None:
    """'label rule → FAILED_PRECONDITION', and the labels stay as they were."""
    base = told.base("labels", "1", "2")
    wish = {"name": "labels", "base_path": base, **TWO}
    told.reload(wish)
    told.reload(wish | {"version_labels": {"stable": 1, "same": 1, "canary": 2}})
    with pytest.raises(Refusal, match=r"FAILED_PRECONDITION.*not currently available"):
        told.reload(wish | {"version_labels": {"stable": 7}})
    for label, version in {"stable": 1, "same": 1, "canary": 2}.items():
        answer = told.client.predict(spec("labels", version_label=label), X)
        assert answer.model_spec.version.value == version


def test_label_may_come_with_its_version(told: Told) -> None:
    """2.2: 'checked before the same config loads anything, so "load + label" needs two reloads'.

    Differs from TensorFlow Serving: one is enough.
    """
    base = told.base("labelled", "1", "2")
    told.reload({"name": "labelled", "base_path": base, **TWO, "version_labels": {"old": 1}})
    answer = told.client.predict(spec("labelled", version_label="old"), X)
    assert answer.model_spec.version.value == 1


def test_folder_is_looked_at_when_asked(told: Told) -> None:
    """2.2: 'New names are found only at the next file poll'; 1: 'A child directory is a version'.

    Differs from TensorFlow Serving: nothing is polled; the same request once more finds new ones.
    """
    base = told.base("grows", "1")
    told.reload({"name": "grows", "base_path": base})
    told.base("grows", "2")
    assert states(told, "grows") == {1: AVAILABLE}
    told.reload({"name": "grows", "base_path": base})
    assert told.client.predict(spec("grows"), X).model_spec.version.value == 2


def test_requests_take_turns(told: Told) -> None:
    """'Calls are serialised by one mutex': each is answered, and one of them is in force."""
    base = told.base("turns", "1", "2")
    wishes = [
        {
            "name": "turns",
            "base_path": base,
            "model_version_policy": {"specific": {"versions": [n]}},
        }
        for n in (1, 2)
    ]
    calls = [
        told.client.models.HandleReloadConfigRequest.future(request_of(wish), timeout=60)
        for wish in wishes
    ]
    assert [call.result().status.error_code for call in calls] == [0, 0]
    answer = called(told.client.prediction.Predict, predict_request(spec("turns"), X))
    assert answer.model_spec.version.value in {1, 2}
    for wish, version in zip(wishes, (1, 2), strict=True):
        told.reload(wish)
        answer = called(told.client.prediction.Predict, predict_request(spec("turns"), X))
        assert answer.model_spec.version.value == version


@pytest.mark.parametrize(
    ("folder", "words"),
    [("none", "Could not find base path"), ("void", "No versions of servable"), ("zero", "0")],
)
def test_folder_that_cannot_be_served_is_told(told: Told, folder: str, words: str) -> None:
    """1: 'Missing base path … aborts the poll', 'empty base path … unloads everything'.

    Differs from TensorFlow Serving: INVALID_ARGUMENT, and what serves goes on; so is version 0.
    """
    if not (told.site.folder / "models/zero").exists():
        told.base("zero", "0")
        told.base("void")
    base = str(told.site.folder / "models" / folder)
    with pytest.raises(Refusal) as refused:
        told.reload({"name": "m", "base_path": base})
    assert refused.value.code == "INVALID_ARGUMENT"
    assert words in refused.value.message
