"""Clients of TensorFlow Serving change what the fleet serves: real Kafka, nodes, models, stubs."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc import aio

from headrace.publisher import KafkaConnection
from headrace.publisher.history import read_control
from headrace.schemas.records import ModelConfig, ModelVersion, PolicyKind
from tests.e2e.rig import GrpcClient, Site
from tests.integration.consumer.rpc.official import (
    GetModelStatusRequest,
    ModelSpec,
    ModelStub,
    ReloadConfigRequest,
    model_stub,
)
from tests.integration.consumer.rpc.rig import refusal
from tests.models import model

X = {"x": [[1.0], [2.0], [5.0]]}
Y = [2.5, 3.0, 4.5]
AVAILABLE, END = 30, 50
ALL: Mapping[str, object] = {"all": {}}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(bootstrap_servers: str, unique_name: str, tmp_path: Path) -> Site:
    """A deployment of this test's own on the shared broker."""
    return Site(KafkaConnection(bootstrap_servers), unique_name, tmp_path)


class Client:
    """TensorFlow Serving's client of one node, and the folders that it points at."""

    def __init__(self, site: Site, channel: aio.Channel) -> None:
        self.site = site
        self.stub: ModelStub = model_stub(channel)
        self.predictions = GrpcClient(channel)

    def base(self, name: str, **versions: str) -> str:
        """Write version folders, given as `v3="half_plus_two"`, and return their base path."""
        folder = self.site.folder / "models" / name
        for version, built in versions.items():
            shutil.copytree(model(built), folder / version.removeprefix("v"))
        return str(folder)

    async def reload(self, *models: Mapping[str, object], timeout: float = 120) -> None:
        """Ask for exactly these models."""
        request = ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        for fields in models:
            request.config.model_config_list.config.add(
                **{"model_platform": "tensorflow"} | dict(fields)
            )
        answer = await self.stub.HandleReloadConfigRequest(request, timeout=timeout)
        assert answer.status.error_code == 0

    async def states(self, name: str) -> dict[int, int]:
        """Return the states of a model's versions on the node."""
        request = GetModelStatusRequest(model_spec=ModelSpec(name=name))
        answer = await self.stub.GetModelStatus(request)
        return {status.version: status.state for status in answer.model_version_status}

    async def log(self) -> Sequence[str]:
        """Return what the control log says, one line per record."""
        entries = await read_control(self.site.connection, self.site.topics)
        return [_line(entry.record) for entry in entries]


def _line(record: object) -> str:
    match record:
        case ModelVersion():
            return f"{record.model}/{record.version} {record.lifecycle.lower()}"
        case ModelConfig():
            return (
                f"{record.model} {record.policy.kind.lower()} {dict(sorted(record.labels.items()))}"
            )
        case _:
            raise AssertionError(record)


@asynccontextmanager
async def client_of(site: Site, **settings: object) -> AsyncGenerator[Client, None]:
    """Run a node that is ready, and open a client of it."""
    store = (site.folder / "store").as_uri()
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(site.node(**{"store": store} | settings))
        await node.ready()
        address = f"127.0.0.1:{await node.port()}"
        channel = await stack.enter_async_context(aio.insecure_channel(address))
        try:
            yield Client(site, channel)
        except Exception as error:
            error.add_note(f"the node said: {node.events[-15:]} {node.plain[-5:]}")
            raise


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Client, None]:
    """A client of a node that serves version 1 of `m`, and base paths of several kinds."""
    folder = tmp_path_factory.mktemp("model-control")
    site = Site(KafkaConnection(bootstrap_servers), f"t-{uuid.uuid4().hex[:12]}", folder)
    async with client_of(site) as client:
        client.base("other", v1="half_plus_two_tf1")
        client.base("zero", v0="half_plus_two")
        for empty in ("empty/one", "broken/1"):
            (folder / "models" / empty).mkdir(parents=True)
        await client.reload({"name": "m", "base_path": client.base("m", v1="half_plus_two")})
        yield client


async def test_reload_serves_exactly_the_models_that_it_lists(site: Site) -> None:
    """Models come and go with the list; a list that says nothing new writes nothing."""
    async with client_of(site) as client:
        a = client.base("a", v1="half_plus_two")
        b = client.base("b", v00007="half_plus_two_tf1", notes="half_plus_two")
        await client.reload(
            {"name": "a", "base_path": a}, {"name": "b", "base_path": f"file://{b}"}
        )
        assert await client.predictions.predict("a", X) == ({"y": Y}, 1)
        assert await client.predictions.predict("b", X) == ({"y": Y}, 7)
        assert await client.log() == ["a/1 published", "b/7 published"]
        await client.reload({"name": "a", "base_path": a}, {"name": "b", "base_path": b})
        assert len(await client.log()) == 2
        await client.reload({"name": "b", "base_path": b})
        assert (await client.log())[2:] == ["a/1 retired"]
        await client.reload({"name": "a", "base_path": a}, {"name": "b", "base_path": b})
        assert (await client.log())[3:] == ["a/1 published"]
        assert await client.predictions.predict("a", X) == ({"y": Y}, 1)
        await client.reload()
        assert (await client.log())[4:] == ["a/1 retired", "b/7 retired"]


async def test_policy_picks_the_versions_of_the_folder(site: Site) -> None:
    """Latest by default, then those named, then all; taking a folder away rolls back."""
    async with client_of(site) as client:
        base = client.base("m", v1="half_plus_two", v2="half_plus_two", v3="half_plus_two")
        wish: dict[str, object] = {"name": "m", "base_path": base}
        await client.reload(wish)
        assert await client.states("m") == {3: AVAILABLE}
        specific = {"model_version_policy": {"specific": {"versions": [1, 2, 9]}}}
        await client.reload(wish | specific)
        states = await client.states("m")
        assert (states[1], states[2]) == (AVAILABLE, AVAILABLE)
        await client.reload(wish | {"model_version_policy": ALL})
        assert await client.states("m") == {1: AVAILABLE, 2: AVAILABLE, 3: AVAILABLE}
        shutil.rmtree(Path(base) / "3")
        await client.reload(wish | {"model_version_policy": {"latest": {"num_versions": 2}}})
        assert (await client.log())[-2:] == ["m/3 retired", "m latest {}"]
        async with site.publisher() as publisher:
            config = await publisher.config("m")
        assert config
        assert (config.policy.kind, config.policy.latest) == (PolicyKind.LATEST, 2)


async def test_label_names_what_serves_or_comes_with_the_request(site: Site) -> None:
    """Better than two reloads; and a label that would name nothing changes nothing."""
    async with client_of(site) as client:
        base = client.base("m", v1="half_plus_two", v2="half_plus_two")
        both = {"model_version_policy": {"latest": {"num_versions": 2}}}
        wish = {"name": "m", "base_path": base} | both
        await client.reload(wish | {"version_labels": {"stable": 1, "canary": 2}})
        assert await client.predictions.predict("m", X, label="stable") == ({"y": Y}, 1)
        assert await client.predictions.predict("m", X, label="canary") == ({"y": Y}, 2)
        written = await client.log()
        assert written == ["m/2 published", "m/1 published", "m latest {'canary': 2, 'stable': 1}"]
        error = await refusal(client.reload(wish | {"version_labels": {"canary": 3}}))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "not currently available for inference" in str(error.details())
        assert await client.log() == written


async def test_model_that_fails_is_told_and_leaves_the_rest_serving(site: Site) -> None:
    """The version before it serves on, and the other models of the list come."""
    async with client_of(site, load_attempts=1) as client:
        base = client.base("m", v1="half_plus_two")
        await client.reload({"name": "m", "base_path": base})
        client.base("m", v2="badly_warmed")
        other = {"name": "other", "base_path": client.base("other", v4="half_plus_two")}
        error = await refusal(client.reload({"name": "m", "base_path": base}, other))
        assert error.code() is grpc.StatusCode.UNKNOWN
        assert str(error.details()).startswith("1 model(s) did not become available: m (version 2:")
        assert await client.states("m") == {1: AVAILABLE, 2: END}
        assert await client.predictions.predict("other", X) == ({"y": Y}, 4)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"base_path": "models/m"}, "INVALID_ARGUMENT", "Expected model m to have an absolute"),
        ({"base_path": "{}/none"}, "INVALID_ARGUMENT", "Could not find base path"),
        ({"base_path": "zip:///a::file:///b"}, "INVALID_ARGUMENT", "absolute path or URI"),
        ({"base_path": "{}/empty"}, "INVALID_ARGUMENT", "No versions of servable m"),
        ({"base_path": "{}/broken"}, "INVALID_ARGUMENT", "no saved_model.pb"),
        ({"base_path": "{}/zero"}, "INVALID_ARGUMENT", "version 0 is not allowed"),
        ({"base_path": "{}/other"}, "FAILED_PRECONDITION", "published with other bytes"),
        ({"model_platform": ""}, "INVALID_ARGUMENT", "setting neither"),
        ({"model_platform": "caffe"}, "INVALID_ARGUMENT", "'caffe'"),
        ({"model_platform": "tensorflow", "model_type": 1}, "INVALID_ARGUMENT", "setting both"),
        ({"model_platform": "", "model_type": 2}, "INVALID_ARGUMENT", "model_type choice 2"),
        ({"logging_config": {}}, "INVALID_ARGUMENT", "logging_config"),
        ({"name": "a/b"}, "INVALID_ARGUMENT", "model name 'a/b' is not allowed"),
        ({"name": "other"}, "INVALID_ARGUMENT", "multiple times"),
    ],
    ids=str,
)
async def test_request_that_cannot_be_is_refused_and_changes_nothing(
    shared: Client, fields: Mapping[str, object], code: str, message: str
) -> None:
    """Before anything is written, in TensorFlow Serving's codes and in words."""
    folder = shared.site.folder / "models"
    filled = {k: v.format(folder) if isinstance(v, str) else v for k, v in fields.items()}
    wish = {"name": "m", "base_path": f"{folder}/m"} | filled
    other = {"name": "other", "base_path": f"{folder}/other"}
    before = await shared.log()
    error = await refusal(shared.reload(wish, other))
    assert error.code().name == code
    assert message in str(error.details())
    assert await shared.log() == before


async def test_fleet_follows_what_one_node_is_told(site: Site) -> None:
    """Two nodes of one control log; the second is never spoken to about models."""
    async with client_of(site) as client, client_of(site, node_id="second") as second:
        base = client.base("m", v3="half_plus_two")
        await client.reload({"name": "m", "base_path": base})
        await second.reload({"name": "m", "base_path": base})
        assert await client.log() == ["m/3 published"]
        assert await second.predictions.predict("m", X) == ({"y": Y}, 3)


async def test_node_can_be_told_to_take_no_orders(site: Site) -> None:
    """The request is refused in words; asking for states goes on."""
    async with client_of(site, model_control=False) as client:
        base = client.base("m", v1="half_plus_two")
        error = await refusal(client.reload({"name": "m", "base_path": base}))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "--no-model-control" in str(error.details())
        assert await client.log() == []


async def test_only_lists_of_models_are_taken_and_metrics_have_not_increased(site: Site) -> None:
    """The rest of the message: what is no list is refused, each metric is answered once."""
    async with client_of(site) as client:
        request = ReloadConfigRequest()
        error = await refusal(client.stub.HandleReloadConfigRequest(request))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        request.config.custom_model_config.SetInParent()
        error = await refusal(client.stub.HandleReloadConfigRequest(request))
        assert "Only ModelConfigList is currently supported" in str(error.details())
        request.config.model_config_list.SetInParent()
        request.metric_names.extend(["/tensorflow/serving/a", "/b", "/b"])
        answer = await client.stub.HandleReloadConfigRequest(request, timeout=30)
        assert answer.HasField("status")
        assert [
            (m.name, m.int64_value_increase, m.WhichOneof("value_increase")) for m in answer.metric
        ] == [
            ("/tensorflow/serving/a", 0, "int64_value_increase"),
            ("/b", 0, "int64_value_increase"),
        ]
