"""``headrace config``: show how a model is served, or change it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from headrace.cli.options import (
    DEFAULT_BOOTSTRAP_SERVERS,
    AsJson,
    BootstrapServers,
    NoCreateTopics,
    SigningKeyFile,
    Timeout,
    TrustedKeysFile,
    WaitFleet,
)

if TYPE_CHECKING:
    from headrace.publisher.events import Configured
    from headrace.schemas.records import Batching, ModelConfig, VersionPolicy

_Policy = Annotated[
    str | None,
    typer.Option("--policy", metavar="latest:N|specific:N,…|all", help="Which versions to serve."),
]
_Label = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VERSION", help="Give a version a name, or move it."),
]
_Unlabel = Annotated[
    list[str] | None, typer.Option("--unlabel", metavar="NAME", help="Take a name away.")
]
_Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="ARM=WEIGHT,…|ARM=N%,…|none",
        help="Share requests that name neither version nor label among labels, versions or other "
        "models (LABEL, VERSION, MODEL, MODEL@LABEL, MODEL@VERSION). Percentages add up to 100.",
    ),
]
_MaxBatchRows = Annotated[
    int | None,
    typer.Option("--max-batch-size", "--max-batch-rows", help="The most rows in one batch."),
]
_BatchTimeout = Annotated[
    int | None,
    typer.Option("--batch-timeout-micros", help="How long an idle worker waits for company."),
]
_AllowedBatchSizes = Annotated[
    str | None,
    typer.Option(
        "--allowed-batch-sizes",
        metavar="N,…|none",
        help="The only numbers of rows that a batch may have; the last is the most.",
    ),
]
_Pads = Annotated[
    bool | None,
    typer.Option(
        "--pad-variable-length-inputs/--no-pad-variable-length-inputs",
        help="Let requests of different lengths share a batch.",
    ),
]
_LargeRequests = Annotated[
    Literal["run", "split", "refuse"] | None,
    typer.Option("--large-requests", help="What becomes of a request larger than a batch."),
]
_ParametersFile = Annotated[
    Path | None,
    typer.Option(
        "--batching-parameters-file",
        metavar="FILE",
        help="Batch as this file of TensorFlow Serving's says.",
    ),
]
_Replicas = Annotated[
    int | None,
    typer.Option("--replicas", help="Worker processes of each version on a node."),
]
_Shadow = Annotated[
    str | None,
    typer.Option(
        "--shadow",
        metavar="TARGET[=PERCENT]|none",
        help="Mirror requests to a label, a version or another model, and compare the answers.",
    ),
]
_ShadowTolerance = Annotated[
    list[str] | None,
    typer.Option(
        "--shadow-tolerance",
        metavar="[OUTPUT=]ABS[,REL]|none",
        help="How far numbers of an output, or of all others, may be from the shadow's.",
    ),
]
_Shown: TypeAlias = str | int | list[int] | dict[str, int]
_LARGE_REQUESTS = {"run": "RUN_WHOLE", "split": "SPLIT", "refuse": "REFUSE"}
_Preserving = Annotated[
    Literal["availability", "resource"] | None,
    typer.Option("--preserving", help="Load the new version first, or unload the old one first."),
]


def config(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    policy: _Policy = None,
    label: _Label = None,
    unlabel: _Unlabel = None,
    split: _Split = None,
    max_batch_rows: _MaxBatchRows = None,
    batch_timeout_micros: _BatchTimeout = None,
    allowed_batch_sizes: _AllowedBatchSizes = None,
    pad_variable_length_inputs: _Pads = None,
    large_requests: _LargeRequests = None,
    batching_parameters_file: _ParametersFile = None,
    replicas: _Replicas = None,
    preserving: _Preserving = None,
    wait: WaitFleet = None,
    timeout: Timeout = 60.0,
    shadow: _Shadow = None,
    shadow_tolerance: _ShadowTolerance = None,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
    no_create_topics: NoCreateTopics = False,
    signing_key: SigningKeyFile = None,
    trusted_keys: TrustedKeysFile = None,
) -> None:
    """Change how a model is served; options that are not given stay as they are.

    Without any, show the configuration that the log holds.
    """
    from headrace.cli.outcome import run
    from headrace.cli.publish_progress import shown
    from headrace.cli.rollout_view import open_publisher
    from headrace.cli.shadow_options import parse_shadow, parse_tolerances
    from headrace.cli.shares import parse_split
    from headrace.publisher.configuration import ConfigChange
    from headrace.schemas.records import LargeRequests, ModelConfig, Preserving

    shadow_target, shadow_fraction = parse_shadow(shadow)
    change = ConfigChange(
        model=model,
        policy=None if policy is None else _policy(policy),
        preserving=None if preserving is None else Preserving(preserving.upper()),
        labels=_numbers(label or [], "--label"),
        unlabel=tuple(unlabel or ()),
        split=None if split is None else parse_split(split),
        batching=None if batching_parameters_file is None else _foreign(batching_parameters_file),
        max_batch_rows=max_batch_rows,
        batch_timeout_micros=batch_timeout_micros,
        allowed_batch_rows=None if allowed_batch_sizes is None else _sizes(allowed_batch_sizes),
        pads_variable_length=pad_variable_length_inputs,
        large_requests=large_requests and LargeRequests(_LARGE_REQUESTS[large_requests]),
        replicas=replicas,
        shadow_target=shadow_target,
        shadow_fraction=shadow_fraction,
        shadow_tolerances=parse_tolerances(shadow_tolerance),
    )
    publisher = open_publisher(
        bootstrap_servers,
        create_topics=not no_create_topics,
        signing_key=signing_key,
        trusted_keys=trusted_keys,
    )
    if change == ConfigChange(model=model):
        found = run(publisher.config(model))
        _show(found or ModelConfig(model=model), None, as_json=as_json)
        return

    async def work() -> Configured:
        with shown() as on_progress:
            return await publisher.configure(
                change, wait=wait, timeout=timeout, on_progress=on_progress
            )

    _show((done := run(work())).config, done, as_json=as_json)


def _policy(text: str) -> VersionPolicy:
    from headrace.schemas.records import PolicyKind, VersionPolicy

    if text == "all":
        return VersionPolicy(kind=PolicyKind.ALL)
    if match := re.fullmatch(r"latest:(\d{1,9})", text):
        return VersionPolicy(kind=PolicyKind.LATEST, latest=int(match[1]))
    if match := re.fullmatch(r"specific:(\d{1,19}(?:,\d{1,19})*)", text):
        versions = tuple(dict.fromkeys(int(number) for number in match[1].split(",")))
        return VersionPolicy(kind=PolicyKind.SPECIFIC, versions=versions)
    raise typer.BadParameter(
        f"{text!r} is not latest:N, specific:N,N,… or all", param_hint="--policy"
    )


def _foreign(file: Path) -> Batching:
    """Return the rules of a parameters file, and say what of it has no counterpart."""
    from headrace.cli.outcome import outcome
    from headrace.publisher.batching_parameters import read

    with outcome():
        found = read(file)
    for name, why in found.ignored.items():
        typer.echo(f"ignored: {name} ({why})", err=True)
    return found.batching


def _sizes(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    if not re.fullmatch(r"\d{1,18}(?:,\d{1,18})*", text):
        raise typer.BadParameter(
            f"{text!r} is not N,N,… or none", param_hint="--allowed-batch-sizes"
        )
    return tuple(int(size) for size in text.split(","))


def _numbers(pairs: list[str], option: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if not name or not re.fullmatch(r"-?\d{1,19}", number):
            raise typer.BadParameter(f"{pair!r} is not NAME=NUMBER", param_hint=option)
        if name in numbers:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        numbers[name] = int(number)
    return numbers


def _show(config: ModelConfig, written: Configured | None, *, as_json: bool) -> None:
    from headrace.cli.shadow_options import shadow_object, shadow_words
    from headrace.cli.shares import arm_rows
    from headrace.publisher.configuration import policy_words

    batching = config.batching
    shown: dict[str, _Shown] = {
        "model": config.model,
        "policy": policy_words(config.policy),
        "preserving": config.preserving.lower(),
        "labels": dict(config.labels),
        "split": dict(config.split),
        "max_batch_rows": batching.max_rows,
        "batch_timeout_micros": batching.timeout_micros,
        "allowed_batch_rows": list(batching.allowed_rows),
        "pads_variable_length": batching.pads_variable_length,
        "large_requests": batching.large_requests.lower(),
        "replicas": config.replicas,
        "shadow": shadow_words(config.shadow),
    }
    arms = arm_rows(config)
    if as_json:
        offset = written and written.control_offset
        shadow = shadow_object(config.shadow)
        extra = {"arms": [arm.as_json() for arm in arms], "control_offset": offset}
        applied = {"applied_by": list(written.applied_by)} if written else {}
        typer.echo(json.dumps({**shown, "shadow": shadow, **extra, **applied}))
        return
    for name, value in shown.items():
        typer.echo(f"{name.replace('_', ' ')}: {_words(value)}")
        if name == "split":
            for arm in arms:
                typer.echo(f"  {arm.arm}: {arm.share_percent:g} % → {arm.leads_to}")
    if written is not None:
        applied_by = f", applied by {', '.join(written.applied_by)}" if written.applied_by else ""
        typer.echo(f"written at offset {written.control_offset}{applied_by}")


def _words(value: _Shown) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "any"
    if isinstance(value, dict):
        return ", ".join(f"{name}={number}" for name, number in value.items()) or "none"
    return str(value)
