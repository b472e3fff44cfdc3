"""The nodes of a run as processes of their own: started, killed, frozen, told to leave, watched."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks import proc
from tests.chaos.timeline import Timeline
from tests.e2e.rig import NodeProcess, Site

# A version whose worker dies three times in a minute is given up, which is right and would fail
# requests: with this much between two kills there are never three.
_WORKER_PEACE_SECONDS: Final = 31.0
_READY_SECONDS: Final = 90.0


@dataclass
class Member:
    """One node process. `may_end` is set before we end it: any other end is a failure."""

    name: str
    node: NodeProcess
    is_visitor: bool = False
    may_end: bool = False
    is_frozen: bool = False
    is_ready: bool = False
    worker_kills: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def pid(self) -> int:
        """The process id of the node, which is not that of its zygote or workers."""
        return self.node.process.pid


class Fleet:
    """The nodes of one deployment.

    **Concurrency:** event loop only. Every node has a task of its own in the fleet's group, so
    nodes may be started and ended from any task.
    """

    def __init__(
        self, site: Site, settings: Mapping[str, object], tasks: asyncio.TaskGroup, log: Timeline
    ) -> None:
        self._site = site
        self._settings = settings
        self._tasks = tasks
        self._log = log
        self._members: dict[str, Member] = {}
        self._past: list[Member] = []
        self.failures: list[str] = []
        """Nodes that ended by themselves, or left with another exit code than 0."""

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, site: Site, settings: Mapping[str, object], log: Timeline
    ) -> AsyncGenerator[Fleet, None]:
        """Open a fleet without nodes; on exit what still runs is killed and the logs are saved."""
        async with asyncio.TaskGroup() as tasks:
            fleet = cls(site, settings, tasks, log)
            try:
                yield fleet
            finally:
                for name in list(fleet._members):
                    await fleet.kill(name)
                fleet._save_logs()

    def steady(self) -> list[Member]:
        """Return the nodes that are ready and that nothing is being done to."""
        return [
            member
            for member in self._members.values()
            if member.is_ready and not member.is_frozen and not member.is_visitor
        ]

    async def start(self, name: str, *, is_visitor: bool = False) -> Member:
        """Start a node and return when it has partitions; `steady` leaves a visitor in peace."""
        opened: asyncio.Future[NodeProcess] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(self._live(name, opened), name=f"node {name}")
        member = self._members[name] = Member(name, await opened, is_visitor=is_visitor)
        ended = asyncio.create_task(member.node.process.wait())
        ready = asyncio.create_task(member.node.event("partition.opened", timeout=_READY_SECONDS))
        await asyncio.wait([ended, ready], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            raise AssertionError(f"{name} ended before it had partitions: {member.node.plain[-5:]}")
        ended.cancel()
        await ready
        member.is_ready = True
        return member

    async def kill(self, name: str) -> None:
        """Kill a node with SIGKILL, frozen or not; its zygote and workers end with it."""
        member = self._retire(name)
        await member.node.stop(signal.SIGKILL)

    async def leave(self, name: str) -> None:
        """Ask a node to leave, with SIGTERM; any exit code but 0 is a failure."""
        member = self._retire(name)
        code = await member.node.stop()
        if code != 0:
            self.failures.append(f"{name} left with exit code {code} after SIGTERM")

    @asynccontextmanager
    async def frozen(self, name: str) -> AsyncGenerator[Member, None]:
        """Freeze a node process with SIGSTOP during the block; its workers run on."""
        member = self._members[name]
        member.is_frozen = True
        os.kill(member.pid, signal.SIGSTOP)
        try:
            yield member
        finally:
            if member.node.process.returncode is None:
                os.kill(member.pid, signal.SIGCONT)
            member.is_frozen = False

    def workers(self, member: Member, model: str) -> dict[str, int]:
        """Return the process ids of a node's workers by process name."""
        pids = proc.named(proc.tree(member.pid), f"hr {model}/")
        return {name: pid for pid in pids if (name := proc.name(pid))}

    def kill_worker(self, member: Member, model: str) -> str | None:
        """Kill one worker with SIGKILL; None when each was killed a short while ago."""
        for name, pid in sorted(self.workers(member, model).items(), reverse=True):
            last = member.worker_kills.get(name)
            if last is None or time.monotonic() - last > _WORKER_PEACE_SECONDS:
                member.worker_kills[name] = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                return name
        return None

    async def _live(self, name: str, opened: asyncio.Future[NodeProcess]) -> None:
        """Keep one node process, and note an end that we did not bring about."""
        settings = {"node_id": name, "cache_dir": self._site.folder / f"cache-{name}"}
        async with self._site.node(**self._settings, **settings) as node:
            opened.set_result(node)
            code = await node.process.wait()
        member = self._members.get(name)
        if member is not None and member.node is node and not member.may_end:
            self._retire(name)
            self.failures.append(f"{name} ended by itself with exit code {code}")
            self._log.note(self.failures[-1])

    def _retire(self, name: str) -> Member:
        member = self._members.pop(name)
        member.may_end = True
        self._past.append(member)
        return member

    def _save_logs(self) -> None:
        folder = self._log.folder / "nodes"
        folder.mkdir(exist_ok=True)
        for number, member in enumerate(self._past):
            lines = [json.dumps(event) for event in member.node.events] + member.node.plain
            (folder / f"{number:02}-{member.name}.log").write_text("\n".join(lines), "utf-8")
