"""TensorFlow Serving's model configuration, read as wishes which models to serve.

Source: tensorflow_serving/model_servers/{model_service_impl,server_core}.cc, 2.20.
"""

from __future__ import annotations

from typing import Final

from headrace.consumer.core.errors import InvalidRequest
from headrace.consumer.core.repository import ModelWish
from headrace.protos.tensorflow_serving_config_pb2 import (
    TENSORFLOW,
    FileSystemStoragePathSourceConfig,
    ModelConfig,
    ModelServerConfig,
)
from headrace.schemas.records import PolicyKind, VersionPolicy

_TENSORFLOW: Final = "tensorflow"


def read_wishes(config: ModelServerConfig) -> list[ModelWish]:
    """Return the models that a configuration lists.

    Raises:
        InvalidRequest: it is no list of models, or asks for what there is not.
    """
    if not config.HasField("model_config_list"):
        raise InvalidRequest(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported: set config.model_config_list"
        )
    return [_wish(model) for model in config.model_config_list.config]


def _wish(model: ModelConfig) -> ModelWish:
    if model.HasField("logging_config"):
        raise InvalidRequest(
            f"model {model.name} sets logging_config, and requests are not logged here (as in the "
            "stock TensorFlow Serving): leave it out"
        )
    return ModelWish(
        name=model.name,
        base_path=model.base_path,
        platform=_platform(model),
        policy=_policy(model.model_version_policy),
        labels=dict(model.version_labels),
    )


def _platform(model: ModelConfig) -> str:
    if model.model_type and model.model_platform:
        raise InvalidRequest(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {model.name}: leave model_type out"
        )
    if model.model_type not in {0, TENSORFLOW}:
        raise InvalidRequest(
            f"ModelServerConfig::model_type choice {model.model_type} of model {model.name} not "
            "supported: set model_platform instead"
        )
    platform = _TENSORFLOW if model.model_type else model.model_platform
    if not platform:
        raise InvalidRequest(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}: set model_platform, "
            f"for example to {_TENSORFLOW!r}"
        )
    return platform


def _policy(policy: FileSystemStoragePathSourceConfig.ServableVersionPolicy) -> VersionPolicy:
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(kind=PolicyKind.ALL)
        case "specific":
            return VersionPolicy(kind=PolicyKind.SPECIFIC, versions=tuple(policy.specific.versions))
        case _:
            return VersionPolicy(latest=max(policy.latest.num_versions, 1))
