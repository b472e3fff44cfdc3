"""``headrace predict``: ask one version for one inference, by either door."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.options import DEFAULT_BOOTSTRAP_SERVERS, BootstrapServers, ClaimStore

if TYPE_CHECKING:
    from headrace.cli.predict.over_grpc import ClientTls
    from headrace.cli.predict.question import Question


class Via(StrEnum):
    """The door to ask at."""

    GRPC = "grpc"
    KAFKA = "kafka"


_Model = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
_Inputs = Annotated[
    str,
    typer.Option(
        metavar="JSON",
        show_default=False,
        help="Object of input names and values; @FILE reads a file, - standard input.",
    ),
]
_Signature = Annotated[str, typer.Option(metavar="NAME", help="The model's signature to run.")]
_Version = Annotated[
    int | None, typer.Option(min=1, max=2**63 - 1, metavar="N", help="Ask this version.")
]
_Label = Annotated[
    str | None, typer.Option(metavar="NAME", help="Ask the version that has this label.")
]
_Affinity = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help="Requests with the same text take the same arm of a traffic split."
    ),
]
_MinControlOffset = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=2**63 - 1,
        metavar="N",
        help="Wait until this event of the control log is in force: what 'publish' printed.",
    ),
]
_Via = Annotated[Via, typer.Option(help="The door to ask at.")]
_Endpoint = Annotated[
    str,
    typer.Option(envvar="HEADRACE_ENDPOINT", metavar="HOST:PORT", help="gRPC door of a node."),
]
_Timeout = Annotated[
    float, typer.Option(min=0.001, metavar="SECONDS", help="How long to wait at most.")
]
_Dtypes = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype",
        metavar="INPUT=DTYPE",
        help="Over Kafka: an input's dtype, such as x=float64; over gRPC the signature says it.",
    ),
]
_TlsCa = Annotated[
    Path | None,
    typer.Option(
        envvar="HEADRACE_TLS_CA",
        metavar="FILE",
        help="Over gRPC: ask with TLS, and trust these authorities (PEM).",
    ),
]
_TlsCertificate = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Over gRPC with TLS: a certificate to show (PEM)."),
]
_TlsKey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Over gRPC with TLS: its key (PEM).  [default: in the same file]"
    ),
]


def predict(
    model: _Model,
    *,
    inputs: _Inputs,
    signature: _Signature = "serving_default",
    version: _Version = None,
    label: _Label = None,
    affinity: _Affinity = None,
    min_control_offset: _MinControlOffset = None,
    via: _Via = Via.GRPC,
    endpoint: _Endpoint = "localhost:8500",
    tls_ca: _TlsCa = None,
    tls_certificate: _TlsCertificate = None,
    tls_key: _TlsKey = None,
    dtype: _Dtypes = None,
    claim_store: ClaimStore = None,
    timeout: _Timeout = 30.0,
    bootstrap_servers: BootstrapServers = DEFAULT_BOOTSTRAP_SERVERS,
) -> None:
    """Ask a model for one inference, and print the answer as one line of JSON.

    `headrace predict half_plus_two --inputs '{"x": [1.0, 2.0, 5.0]}'` prints
    `{"outputs": {"y": [2.5, 3.0, 4.5]}, "model": "half_plus_two", "version": 3,
    "routed_by": "latest", "arm": null, "plan_offset": 17}`: which version of which model answered,
    what led there, by which arm of a traffic split, and as of which event of the control log.

    Over gRPC the model's signature says which dtype an input has. Over Kafka nothing says it
    beforehand: numbers with a point are taken as float32, whole numbers as int64, text as strings,
    unless `--dtype` says otherwise.

    Bytes that are no UTF-8 are written `{"b64": "…"}` both ways, and NaN and infinities as the
    strings "NaN", "Infinity" and "-Infinity".
    """
    from headrace.cli.predict.question import Question
    from headrace.schemas.records import Route

    if version is not None and label is not None:
        raise typer.BadParameter("give --version or --label, not both")
    if dtype and via is Via.GRPC:
        raise typer.BadParameter("--dtype is for --via kafka; over gRPC the signature says it")
    question = Question(
        route=Route(model, version, label),
        signature=signature,
        timeout_seconds=timeout,
        affinity=affinity,
        min_control_offset=min_control_offset,
    )
    if via is Via.GRPC:
        tls = _tls(tls_ca, tls_certificate, tls_key)
        _ask_grpc(question, inputs, endpoint=endpoint, tls=tls)
    else:
        written = (inputs, dtype or [])
        _ask_kafka(question, written, servers=bootstrap_servers, claim_store=claim_store)


def _tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ClientTls | None:
    from headrace.cli.predict.over_grpc import ClientTls

    if ca is None and (certificate or key):
        raise typer.BadParameter(
            "--tls-certificate and --tls-key need --tls-ca, which turns TLS on"
        )
    if certificate is None and key:
        raise typer.BadParameter("--tls-key needs --tls-certificate")
    return ClientTls(ca=ca, certificate=certificate, key=key) if ca else None


def _ask_grpc(question: Question, inputs: str, *, endpoint: str, tls: ClientTls | None) -> None:
    from headrace.cli.outcome import outcome
    from headrace.cli.predict.json_tensors import line, read_inputs
    from headrace.cli.predict.over_grpc import GrpcAsker

    asker = GrpcAsker(endpoint=endpoint, tls=tls)
    with outcome():
        typer.echo(line(asker.predict(question, read_inputs(inputs))))


def _ask_kafka(
    question: Question,
    written: tuple[str, list[str]],
    *,
    servers: str,
    claim_store: str | None,
) -> None:
    from headrace.cli.outcome import run
    from headrace.cli.predict.json_tensors import line, read_inputs
    from headrace.cli.predict.over_kafka import arrays, parse_dtypes
    from headrace.cli.predict.over_kafka import predict as ask
    from headrace.publisher.connection import KafkaConnection

    async def work() -> str:
        inputs, dtypes = written
        values = arrays(read_inputs(inputs), parse_dtypes(dtypes))
        connection = KafkaConnection.from_environment(servers)
        return line(await ask(connection, question, values, claim_store=claim_store))

    typer.echo(run(work()))
