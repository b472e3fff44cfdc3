"""What talks to Headrace through Kafka: model versions published, inference asked, fleets watched.

The light install: neither TensorFlow nor gRPC is ever imported from here.
"""

from headrace.publisher.configuration import ConfigChange
from headrace.publisher.connection import KafkaConnection, quiet_logs
from headrace.publisher.errors import (
    BrokerRefused,
    BrokerUnreachable,
    ExamplesFailed,
    ExamplesNotRun,
    Incompatible,
    InferenceFailed,
    InvalidArgument,
    InvalidKey,
    InvalidModel,
    InvalidSecurity,
    LogConflict,
    NothingBefore,
    NotServed,
    NotTrusted,
    NotWanted,
    OutcomeUnknown,
    PublisherError,
    RefusedByNode,
    StillPublished,
    StillUsed,
    StoreError,
    TopicMismatch,
    UnknownLetter,
    UnknownVersion,
    ValidationError,
    VersionConflict,
    WaitTimeout,
)
from headrace.publisher.event_security import EventSecurity
from headrace.publisher.events import Configured, Forgotten, Published, Retired
from headrace.publisher.inference import Inference, make_request
from headrace.publisher.models import ModelPublisher
from headrace.publisher.requests import InferenceClient
from headrace.publisher.security import KafkaSecurity
from headrace.publisher.sync import SyncModelPublisher
from headrace.publisher.tokens import TokenProvider

__all__ = [
    "BrokerRefused",
    "BrokerUnreachable",
    "ConfigChange",
    "Configured",
    "EventSecurity",
    "ExamplesFailed",
    "ExamplesNotRun",
    "Forgotten",
    "Incompatible",
    "Inference",
    "InferenceClient",
    "InferenceFailed",
    "InvalidArgument",
    "InvalidKey",
    "InvalidModel",
    "InvalidSecurity",
    "KafkaConnection",
    "KafkaSecurity",
    "LogConflict",
    "ModelPublisher",
    "NotServed",
    "NotTrusted",
    "NotWanted",
    "NothingBefore",
    "OutcomeUnknown",
    "Published",
    "PublisherError",
    "RefusedByNode",
    "Retired",
    "StillPublished",
    "StillUsed",
    "StoreError",
    "SyncModelPublisher",
    "TokenProvider",
    "TopicMismatch",
    "UnknownLetter",
    "UnknownVersion",
    "ValidationError",
    "VersionConflict",
    "WaitTimeout",
    "make_request",
    "quiet_logs",
]
