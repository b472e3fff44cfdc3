"""`headrace rollback`, `pin`, `unpin`, `plan` and `history` on a real control log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.publisher import ConfigChange, KafkaConnection, ModelPublisher
from headrace.publisher.history import read_control
from headrace.publisher.topics import ensure_topics
from headrace.schemas.records import ServableState
from headrace.schemas.topics import Topics, specs
from tests.fakes.saved_models import write_saved_model
from tests.fakes.scripted_node import ScriptedNode
from tests.integration.cli.programs import Ended, headrace

HELD = "new versions are not served until headrace unpin ranker"


class Deployment:
    """Topics of one test alone, a publisher to them, and the program with their names."""

    def __init__(self, bootstrap_servers: str, name: str, folder: Path) -> None:
        self.connection = KafkaConnection(bootstrap_servers)
        self.topics = Topics(control=f"{name}.control", status=f"{name}.status")
        self.publisher = ModelPublisher(
            self.connection, topics=self.topics, store=str(folder / "store"), publisher_name="ada"
        )
        self._environment = {
            "HEADRACE_BOOTSTRAP_SERVERS": bootstrap_servers,
            "HEADRACE_CONTROL_TOPIC": self.topics.control,
            "HEADRACE_STATUS_TOPIC": self.topics.status,
            "COLUMNS": "200",
        }

    async def run(self, *arguments: str) -> Ended:
        """Run a command."""
        return await headrace(*arguments, **self._environment)

    async def out(self, *arguments: str) -> list[str]:
        """Run a command that must succeed and return its lines."""
        ended = await self.run(*arguments)
        assert ended.code == 0, ended.err
        return ended.out.splitlines()

    async def json(self, *arguments: str) -> Any:  # noqa: ANN401 - it is JSON
        """Run a command that must succeed and return what it prints as JSON."""
        return json.loads("\n".join(await self.out(*arguments, "--json")))

    async def error(self, *arguments: str) -> str:
        """Run a command that must fail with one line, and return it."""
        ended = await self.run(*arguments)
        assert (ended.code, ended.out) == (1, "")
        [error] = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        assert ended.err.endswith(f"{error}\n")
        return error

    async def length(self) -> int:
        """Return how many records the control log holds."""
        return len(await read_control(self.connection, self.topics))


@pytest.fixture
async def site(bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    """A log with versions 1, 2 and 3 of ranker."""
    site = Deployment(bootstrap_servers, topic_prefix + "rollouts", tmp_path)
    await ensure_topics(site.connection, specs(site.topics))
    model = write_saved_model(tmp_path / "model")
    for number in (1, 2, 3):
        await site.publisher.publish("ranker", number, model)
    return site


async def test_rolls_back_further_and_further_and_lets_go(site: Deployment) -> None:
    """Each says from what to what; a rehearsal writes nothing."""
    assert await site.out("rollback", "ranker", "--dry-run") == [
        f"ranker: 3 → 2; policy latest:1 → specific:2; {HELD}",
        "nothing was written (--dry-run)",
    ]
    assert await site.length() == 3
    done = await site.json("rollback", "ranker")
    assert done["before"] == {"versions": [3], "policy": "latest:1", "labels": {}, "split": {}}
    assert (done["after"]["versions"], done["after"]["policy"]) == ([2], "specific:2")
    assert (done["control_offset"], done["applied_by"], done["skipped"]) == (3, [], [])
    assert (await site.out("rollback", "ranker"))[0].startswith("ranker: 2 → 1; policy")
    error = await site.error("rollback", "ranker")
    assert "the log knows nothing that 'ranker' served before version 1" in error
    assert await site.out("unpin", "ranker") == [
        "ranker: 1 → 3; policy specific:1 → latest:1",
        "written at offset 5",
    ]
    rows = await site.json("history", "ranker")
    assert [row["what"] for row in rows[3:]] == ["rolled back", "rolled back", "configured"]
    assert rows[3]["details"] == "3 → 2; policy latest:1 → specific:2"
    assert "error: model name 'a/b'" in await site.error("rollback", "a/b")
    assert "served before nothing" in await site.error("rollback", "nobody")


async def test_says_what_a_rollback_passes_over(site: Deployment) -> None:
    """A retired version is not brought back by itself."""
    await site.publisher.pin("ranker", [2])
    await site.publisher.pin("ranker", [3])
    await site.publisher.retire("ranker", 2)
    ended = await site.run("rollback", "ranker")
    assert ended.code == 0
    assert "passed over version 2: the policy means version 2 of 'ranker'" in ended.err
    assert ended.out.startswith("ranker: 3 → 1; policy")
    error = await site.error("retire", "ranker", "1")
    assert "version 1 of 'ranker' is in use by its policy" in error
    assert (await site.out("retire", "ranker", "1", "--force"))[0].startswith("retired ranker")


async def test_pins_what_is_served_or_what_is_named(site: Deployment) -> None:
    """And refuses what cannot be pinned."""
    assert (await site.out("pin", "ranker"))[0] == (
        f"ranker: nothing that is served changes; policy latest:1 → specific:3; {HELD}"
    )
    assert (await site.json("pin", "ranker", "1", "2"))["after"]["versions"] == [1, 2]
    assert (await site.json("pin", "ranker", "--off"))["after"]["policy"] == "latest:1"
    assert "is not pinned: its policy is latest:1" in await site.error("unpin", "ranker")
    assert "version 9 of 'ranker', which was never" in await site.error("pin", "ranker", "9")
    assert "serves no version that could be pinned" in await site.error("pin", "nobody")
    assert (await site.run("pin", "ranker", "1", "--off")).code == 2


async def test_makes_aliases_and_refuses_those_that_lead_nowhere(site: Deployment) -> None:
    """A name with a split and no versions; it lists no version of its own."""
    split = "ranker@2=50%,ranker=50%"
    await site.publisher.configure(ConfigChange(model="ranker", labels={"stable": 2}))
    shown = await site.out("config", "alias", "--split", split.replace("@2", "@stable"))
    assert "  ranker: 50 % → model ranker" in shown
    assert "  ranker@stable: 50 % → label stable of ranker" in shown
    before = await site.length()
    loop = await site.error("config", "ranker", "--split", "alias=1")
    assert "leads in a circle (ranker → alias → ranker)" in loop
    assert "never published" in await site.error("config", "alias", "--split", "ranker@9=1")
    gone = await site.error("config", "ranker", "--unlabel", "stable")
    assert "still arm 'ranker@stable' of the split of 'alias'" in gone
    assert await site.length() == before
    assert {row["model"] for row in await site.json("models", "--all")} == {"ranker"}


async def test_plan_tells_what_is_wanted_and_which_record_made_it_so(site: Deployment) -> None:
    """Now, and as of an offset or a time."""
    change = ConfigChange(model="ranker", labels={"stable": 2}, split={"stable": 3, "3": 1})
    await site.publisher.configure(change)
    [model] = (await site.json("plan"))["models"]
    assert model["model"] == "ranker"
    assert [one["version"] for one in model["versions"]] == [2, 3]
    assert [one["because"]["offset"] for one in model["versions"]] == [1, 2]
    assert model["versions"][0]["because"]["publisher"] == "ada"
    assert (model["policy"]["policy"], model["policy"]["because"]["offset"]) == ("latest:1", 3)
    assert (model["labels"][0]["label"], model["labels"][0]["version"]) == ("stable", 2)
    assert [arm["share_percent"] for arm in model["arms"]] == [75.0, 25.0]
    then = await site.json("plan", "--at", "1", "--model", "ranker")
    assert (then["offset"], then["removed_records"]) == (1, 0)
    assert [one["version"] for one in then["models"][0]["versions"]] == [2]
    assert then["models"][0]["policy"]["because"] is None
    moment = (await site.json("history", "ranker"))[3]["time"]
    assert (await site.json("plan", "--at", moment))["offset"] == 3
    ended = await site.run("plan", "--at", "2")
    assert ended.out.splitlines()[1].split()[:4] == ["ranker", "version", "3", "2"]
    assert ended.err.startswith("the plan as of offset 2 of 20")
    for at, words in (
        ("4", "which holds offsets 0 to 3"),
        ("7d", "before the first record of the control log"),
        ("2999-01-01", "is in the future"),
        ("soon", "is no time"),
    ):
        assert words in await site.error("plan", "--at", at)
    nothing = await site.run("plan", "--model", "nobody")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing of 'nobody' is wanted as of offset 3" in nothing.err


async def test_waits_until_every_node_follows(site: Deployment) -> None:
    """Against nodes that say what real nodes say; in vain, the words name who is behind."""
    async with site.connection.producer() as producer:
        nodes = [ScriptedNode(name, producer, site.topics.status) for name in ("a", "b")]
        for node in nodes:
            await node.report(2, ServableState.AVAILABLE, 1)
            await node.beat(2)
        error = await site.error("rollback", "ranker", "--wait", "fleet", "--timeout", "0.3")
        assert "the configuration of 'ranker' within 0.3 s: node a: has not applied" in error
        assert "at offset 3 and stays there" in error
        for node in nodes:
            await node.beat(4)
        command = ("config", "ranker", "--label", "stable=2", "--wait", "fleet")
        assert (await site.out(*command))[-1] == "written at offset 4, applied by a, b"
