"""The fold of the status topic."""

from headrace.publisher.fleet import Fleet, heartbeat_key, status_key
from headrace.schemas.records import NodeStatus, ServableState, ServableStatus

INTERVAL_MS = 1000


def heartbeat(node: str = "a", incarnation: int = 1, control_offset: int = 5) -> NodeStatus:
    """Return a heartbeat."""
    return NodeStatus(
        node=node,
        incarnation=incarnation,
        at_ms=0,
        control_offset=control_offset,
        is_ready=True,
        heartbeat_interval_ms=INTERVAL_MS,
    )


def transition(node: str = "a", incarnation: int = 1, version: int = 3) -> NodeStatus:
    """Return a transition of ranker to AVAILABLE."""
    servable = ServableStatus(
        model="ranker", version=version, state=ServableState.AVAILABLE, control_offset=5
    )
    return NodeStatus(
        node=node, incarnation=incarnation, at_ms=0, control_offset=5, servable=servable
    )


def folded(*records: NodeStatus, timestamp_ms: int = 0) -> Fleet:
    """Return the fleet of these records."""
    fleet = Fleet()
    for record in records:
        fleet.apply(b"key", record, timestamp_ms)
    return fleet


def test_knows_nodes_and_their_versions() -> None:
    """A heartbeat tells of the node, a transition of one version on it."""
    node = folded(heartbeat(), transition()).nodes["a"]
    assert (node.control_offset, node.is_ready) == (5, True)
    status = node.servable("ranker", 3)
    assert status is not None
    assert status.state is ServableState.AVAILABLE
    assert node.servable("ranker", 4) is None


def test_a_node_lives_for_three_and_a_half_heartbeats() -> None:
    """Age is counted from the Kafka timestamp of the last heartbeat."""
    fleet = folded(heartbeat(), timestamp_ms=10_000)
    assert [node.name for node in fleet.live(10_000 + 3499)] == ["a"]
    assert fleet.live(10_000 + 3500) == []


def test_transitions_do_not_keep_a_node_alive() -> None:
    """Only the heartbeat carries the offset that the rules of waiting need."""
    fleet = folded(heartbeat(), timestamp_ms=0)
    fleet.apply(b"key", transition(), 9000)
    assert fleet.live(9000) == []


def test_a_restarted_node_voids_what_it_said_before() -> None:
    """The versions of the old incarnation went down with it."""
    node = folded(heartbeat(), transition(), heartbeat(incarnation=2)).nodes["a"]
    assert (node.incarnation, node.servables) == (2, {})


def test_a_restarted_node_is_not_live_before_its_first_heartbeat() -> None:
    """A transition of a new incarnation says nothing of how far it has come."""
    fleet = folded(heartbeat(), transition(incarnation=2))
    assert fleet.nodes["a"].control_offset == -1
    assert fleet.live(0) == []


def test_records_of_an_older_incarnation_are_void() -> None:
    """They may arrive late, from a process that is being replaced."""
    fleet = folded(heartbeat(incarnation=2), transition(incarnation=1), heartbeat(control_offset=9))
    assert fleet.nodes["a"].servables == {}
    assert fleet.nodes["a"].control_offset == 5


def test_tombstones_remove_versions_and_nodes() -> None:
    """A node's own key takes the node; a version's key takes the version."""
    fleet = folded(heartbeat(), transition(version=3), transition(version=4))
    fleet.apply(status_key("a", "ranker", 3), None, 0)
    assert set(fleet.nodes["a"].servables) == {("ranker", 4)}
    fleet.apply(heartbeat_key("a"), None, 0)
    assert fleet.nodes == {}
    fleet.apply(status_key("a", "ranker", 4), None, 0)
    assert fleet.nodes == {}


def test_tombstones_of_unknown_form_are_ignored() -> None:
    """The topic may hold keys of a later release."""
    fleet = folded(heartbeat(), transition())
    for key in (b"\xff\xfe", b"a/ranker/x", b"a/ranker", b""):
        fleet.apply(key, None, 0)
    assert set(fleet.nodes["a"].servables) == {("ranker", 3)}
