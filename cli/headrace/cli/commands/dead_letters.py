"""``headrace dead-letters``: requests that could not be used, looked at and sent again."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import DEFAULT_BOOTSTRAP_SERVERS, AsJson, BootstrapServers
from headrace.cli.outcome import FAILED, run

if TYPE_CHECKING:
    from headrace.publisher.letter_replay import Replayed

dead_letters = typer.Typer(
    name="dead-letters",
    help="Look at the requests that could not be used, and send them again.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_Id = Annotated[
    str, typer.Argument(metavar="PARTITION:OFFSET", help="The letter, as `list` shows it.")
]
_Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PARTITION:OFFSET]…", help="The letters, as `list` shows them."),
]
_Model = Annotated[str | None, typer.Option(metavar="NAME", help="Only requests for this model.")]
_Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Only letters whose reason contains this text.")
]
_Topic = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only requests that came by this topic.")
]
_Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only from then on: 2h (ago), or an ISO time.")
]
_Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only before then; as --since.")]
_Limit = Annotated[int, typer.Option(min=0, metavar="N", help="How many at most; 0 for all.")]
_AsLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
_Raw = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write the request's value there, byte for byte; - prints."),
]
_All = Annotated[bool, typer.Option("--all", help="Every letter.")]
_ToTopic = Annotated[
    str | None, typer.Option(metavar="NAME", help="Send to this topic instead of the origins.")
]
_Again = Annotated[bool, typer.Option("--again", help="Also letters that were replayed before.")]
_KeepDeadline = Annotated[
    bool,
    typer.Option("--keep-deadline", help="Keep the header deadline-ms, though it may be past."),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and stop.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dead_letters.command("list")
def list_letters(
    *,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    limit: _Limit = 50,
    as_lines: _AsLines = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
) -> None:
    """Show the dead letters, newest first.

    `headrace dead-letters list --since 2h --reason schema` shows what no schema could read in the
    last two hours; `--model ranker` shows requests for one model, as far as they can be read.

    A letter that was replayed says when. A size such as `12 -5000` means that the topic took only
    12 bytes of the request, and that 5000 are still at its origin, while they are kept there.

    With `--json`: partition, offset, time, origin (topic, partition, offset), key, reason, model,
    size_bytes, truncated_bytes, replayed (time, or null).
    """

    async def work() -> None:
        from headrace.cli import letter_view
        from headrace.cli.letter_desk import Wish, newest
        from headrace.cli.terminal import console

        wish = Wish(model=model, reason=reason, topic=topic, since=since, until=until)
        found = await newest(bootstrap_servers, wish, limit)
        if as_lines:
            for entry in found:
                typer.echo(json.dumps(letter_view.entry_json(entry), ensure_ascii=False))
        elif found:
            console().print(letter_view.table(found))
        else:
            typer.echo("no dead letters" + ("" if wish.is_empty else " that fit"), err=True)
        if limit and len(found) == limit:
            typer.echo(f"the newest {limit}; --limit 0 shows all", err=True)

    run(work())


@dead_letters.command()
def show(
    letter: _Id,
    *,
    raw: _Raw = None,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
) -> None:
    """Show one letter in full: where it came from, why, its headers, and what it asked.

    `headrace dead-letters show 0:12` shows a request as inputs with their first values, where it
    can be read, and else the first bytes. A bare number is an offset of partition 0.

    `--raw FILE` writes the value as it was sent; what the letter lacks is read at its origin.
    """

    async def work() -> None:
        from headrace.cli import letter_desk, letter_view

        found = await letter_desk.show(bootstrap_servers, letter, raw)
        if raw == "-":
            return
        if as_json:
            typer.echo(json.dumps(letter_view.letter_json(found), ensure_ascii=False))
        else:
            typer.echo("\n".join(letter_view.letter_lines(found)))

    run(work())


@dead_letters.command()
def replay(
    letters: _Ids = None,
    *,
    every: _All = False,
    model: _Model = None,
    reason: _Reason = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    to_topic: _ToTopic = None,
    again: _Again = False,
    keep_deadline: _KeepDeadline = False,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
) -> None:
    """Send requests again that became dead letters, once what was wrong is put right.

    `headrace dead-letters replay 0:12 0:15` sends two; `--reason 'no topic' --since 1d --dry-run`
    says what would be sent; `--all` sends every letter that was not replayed yet.

    A request goes back to the topic and partition that it came from, with its key, value and
    headers, without its deadline, and with the header `replayed-from`. Request and mark are
    written in one transaction: after a failure do the same again, and nothing is sent twice.

    With `--json`: an object with replayed, skipped and refused, each a list of partition, offset,
    to, why; and dry_run. Exit code 1 when a letter could not be replayed.
    """
    from headrace.cli.letter_desk import Wish

    wish = Wish(
        ids=tuple(letters or ()), model=model, reason=reason, topic=topic, since=since, until=until
    )
    if wish.is_empty != every:
        raise typer.BadParameter("say which letters: PARTITION:OFFSET, a filter, or --all alone")

    def confirm(count: int) -> None:
        if not yes and sys.stdin.isatty():
            to = to_topic or "where they came from"
            typer.confirm(f"send {count} dead letters to {to}?", abort=True, err=True)

    async def work() -> list[Replayed]:
        from headrace.cli.letter_desk import replay as send
        from headrace.publisher.letter_replay import ReplayOptions

        options = ReplayOptions(to_topic=to_topic, keep_deadline=keep_deadline, again=again)
        return await send(bootstrap_servers, wish, options, None if dry_run else confirm)

    _tell(run(work()), dry_run=dry_run, as_json=as_json)


def _tell(fates: list[Replayed], *, dry_run: bool, as_json: bool) -> None:
    """Say what became of every letter; exit with 1 when one was refused."""
    from headrace.publisher.letter_replay import Fate

    by_fate = {fate: [each for each in fates if each.fate is fate] for fate in Fate}
    if as_json:
        rows = {
            fate.value: [each.id._asdict() | {"to": each.to, "why": each.why} for each in of_it]
            for fate, of_it in by_fate.items()
        }
        typer.echo(json.dumps(rows | {"dry_run": dry_run}))
    else:
        verb = "would replay" if dry_run else "replayed"
        for each in by_fate[Fate.REPLAYED]:
            typer.echo(f"{verb} {each.id} to {each.to}")
        counts = ", ".join(f"{len(of_it)} {fate}" for fate, of_it in by_fate.items() if of_it)
        typer.echo(f"{'dry run: ' * dry_run}{counts or 'no dead letters that fit'}", err=True)
        for each in by_fate[Fate.SKIPPED]:
            typer.echo(f"skipped {each.id}: {each.why}", err=True)
    for each in by_fate[Fate.REFUSED]:
        typer.echo(f"error: {each.why}", err=True)
    if by_fate[Fate.REFUSED]:
        raise typer.Exit(FAILED)
