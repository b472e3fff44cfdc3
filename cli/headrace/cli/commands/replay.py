"""``headrace replay``: answer past requests with another version, and compare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import DEFAULT_BOOTSTRAP_SERVERS, BootstrapServers
from headrace.cli.outcome import FAILED

if TYPE_CHECKING:
    from headrace.cli.replay.diff import DiffReport
    from headrace.consumer.replay import Replayed, ReplayOptions
    from headrace.consumer.settings import Settings

_Model = Annotated[
    str, typer.Option(metavar="NAME", show_default=False, help="Whose requests to answer.")
]
_Version = Annotated[
    int,
    typer.Option(
        min=1,
        max=2**63 - 1,
        metavar="N",
        show_default=False,
        help="The version that answers, whatever the requests name; it may be retired.",
    ),
]
_OutputTopic = Annotated[
    str,
    typer.Option(
        metavar="NAME", show_default=False, help="Where the answers go; made if it does not exist."
    ),
]
_From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="BOUND",
        help="Where the range begins: an ISO time, 2h (ago), offset:1234, PARTITION:OFFSET (may be "
        "repeated, and leaves out other partitions), beginning or end. Default: the beginning.",
    ),
]
_To = Annotated[
    list[str] | None,
    typer.Option(
        "--to", metavar="BOUND", help="Before which record it ends, likewise. Default: the end now."
    ),
]
_Topic = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The request topic. Default: the deployment's."),
]
_Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="At most so many requests, spread over the partitions."),
]
_Job = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Go on where a job of this name stopped, or begin it."),
]
_Diff = Annotated[
    bool, typer.Option("--diff", help="Compare the answers with those that were given then.")
]
_AnswersTopic = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --diff: where those are, unless a request named a topic of its own. Default: "
        "the deployment's.",
    ),
]
_Tolerance = Annotated[
    float,
    typer.Option(
        min=0.0,
        metavar="X",
        help="With --diff: elements may differ by so much, absolutely or relatively.",
    ),
]
_Show = Annotated[
    int, typer.Option(min=0, metavar="N", help="With --diff: how many of the largest differences.")
]
_FailOnDiff = Annotated[
    bool, typer.Option("--fail-on-diff", help="With --diff: exit code 1 when answers differ.")
]
_AsLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def replay(
    *,
    model: _Model,
    version: _Version,
    output_topic: _OutputTopic,
    since: _From = None,
    until: _To = None,
    topic: _Topic = None,
    limit: _Limit = None,
    job: _Job = None,
    with_diff: _Diff = False,
    answers_topic: _AnswersTopic = None,
    tolerance: _Tolerance = 0.0,
    show: _Show = 10,
    fail_on_diff: _FailOnDiff = False,
    as_lines: _AsLines = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
) -> None:
    """Answer past requests with another version, and compare with what was answered then.

    `headrace replay --model ranker --version 43 --from 2h --output-topic ranker-43 --diff` asks
    version 43 what the fleet was asked in the last two hours, before anybody serves it, and says
    where it differs.

    The version is loaded here, as a node would load it: variables such as HEADRACE_CACHE_DIR count.
    The fleet does not notice: the replay is in no group of nodes, and writes to the output topic
    only. Each request of the range gets exactly one answer, also when the replay is killed and
    started again with the same `--job`. Deadlines and reply topics of the requests do not count;
    the answers have a header `replay-of`, with topic/partition/offset of the request.

    `--diff` finds the answer given then by its correlation id, and compares outputs as numbers. An
    element differs when both its absolute and its relative difference are above `--tolerance`.

    With `--json`: the largest differences, and as the last line a summary.
    """
    from headrace.cli import extras

    extras.require("serving")
    from headrace.cli.outcome import outcome
    from headrace.cli.replay.bounds import parse_bound
    from headrace.consumer import logs
    from headrace.consumer.core.errors import HeadraceError
    from headrace.consumer.replay import ReplayOptions
    from headrace.consumer.settings import Settings
    from headrace.publisher.ranges import Edge

    logs.configure("warning", "auto")
    with outcome(HeadraceError):
        settings = Settings.from_arguments([f"--bootstrap-servers={bootstrap_servers}"])
        options = ReplayOptions(
            job=_checked(job) if job else _new_job(model, version),
            model=model,
            version=version,
            topic=topic or settings.topics.requests,
            output_topic=output_topic,
            since=parse_bound("--from", since or [], Edge.BEGINNING),
            until=parse_bound("--to", until or [], Edge.END),
            limit=limit,
        )
    answers = answers_topic or settings.topics.responses
    replayed, report = _work(settings, options, (answers, tolerance, show) if with_diff else None)
    _print(replayed, options, report, as_lines)
    if fail_on_diff and report is not None and report.has_differences:
        raise typer.Exit(FAILED)


def _checked(job: str) -> str:
    """Return the job's name if it can be one."""
    import re

    if re.fullmatch(r"[A-Za-z0-9._-]{1,100}", job) is None:
        raise typer.BadParameter(
            "use 1 to 100 letters, digits, '.', '_' or '-'", param_hint="--job"
        )
    return job


def _new_job(model: str, version: int) -> str:
    """Return a name that no job has."""
    import uuid

    return f"{model}-{version}-{uuid.uuid4().hex[:8]}"


def _work(
    settings: Settings, options: ReplayOptions, compared: tuple[str, float, int] | None
) -> tuple[Replayed, DiffReport | None]:
    from headrace.cli.outcome import run
    from headrace.cli.replay.diff import DiffOptions, diff
    from headrace.cli.replay.progress import telling
    from headrace.consumer.core.errors import HeadraceError
    from headrace.consumer.replay import run as run_replay
    from headrace.consumer.stream.replay_job import job_group

    async def work() -> tuple[Replayed, DiffReport | None]:
        with telling(options.job) as told:
            replayed = await run_replay(settings, options, told)
            if compared is None:
                return replayed, None
            answers_topic, tolerance, show = compared
            wanted = DiffOptions(
                node=job_group(options.job),
                model=options.model,
                output_topic=options.output_topic,
                answers_topic=answers_topic,
                tolerance=tolerance,
                show=show,
            )
            connection = settings.kafka_connection
            return replayed, await diff(connection, wanted, told.compared)

    return run(work(), HeadraceError)


def _print(
    replayed: Replayed, options: ReplayOptions, report: DiffReport | None, as_lines: bool
) -> None:
    from headrace.cli.replay import view
    from headrace.cli.terminal import console

    if as_lines:
        for row in view.json_lines(replayed, options, report):
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    typer.echo(view.summary_line(replayed, options))
    if report is None:
        return
    for line in view.report_lines(report):
        typer.echo(line)
    if report.largest:
        console().print(view.largest_table(report))
