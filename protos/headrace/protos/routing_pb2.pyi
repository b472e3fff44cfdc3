from headrace.protos import open_inference_pb2 as _open_inference_pb2
from headrace.protos import tensorflow_serving_pb2 as _tensorflow_serving_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictRoute(_message.Message):
    __slots__ = ("model_spec",)
    MODEL_SPEC_FIELD_NUMBER: _ClassVar[int]
    model_spec: _tensorflow_serving_pb2.ModelSpec
    def __init__(self, model_spec: _Optional[_Union[_tensorflow_serving_pb2.ModelSpec, _Mapping]] = ...) -> None: ...

class ModelInferRoute(_message.Message):
    __slots__ = ("model_name", "model_version")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class InputRequest(_message.Message):
    __slots__ = ("model_spec", "input")
    MODEL_SPEC_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    model_spec: _tensorflow_serving_pb2.ModelSpec
    input: bytes
    def __init__(self, model_spec: _Optional[_Union[_tensorflow_serving_pb2.ModelSpec, _Mapping]] = ..., input: _Optional[bytes] = ...) -> None: ...

class ResultResponse(_message.Message):
    __slots__ = ("model_spec", "result")
    MODEL_SPEC_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    model_spec: _tensorflow_serving_pb2.ModelSpec
    result: bytes
    def __init__(self, model_spec: _Optional[_Union[_tensorflow_serving_pb2.ModelSpec, _Mapping]] = ..., result: _Optional[bytes] = ...) -> None: ...

class TasksRequest(_message.Message):
    __slots__ = ("tasks", "input")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_tensorflow_serving_pb2.InferenceTask]
    input: bytes
    def __init__(self, tasks: _Optional[_Iterable[_Union[_tensorflow_serving_pb2.InferenceTask, _Mapping]]] = ..., input: _Optional[bytes] = ...) -> None: ...

class TasksResponse(_message.Message):
    __slots__ = ("results",)
    class TaskResult(_message.Message):
        __slots__ = ("model_spec", "classification_result", "regression_result")
        MODEL_SPEC_FIELD_NUMBER: _ClassVar[int]
        CLASSIFICATION_RESULT_FIELD_NUMBER: _ClassVar[int]
        REGRESSION_RESULT_FIELD_NUMBER: _ClassVar[int]
        model_spec: _tensorflow_serving_pb2.ModelSpec
        classification_result: bytes
        regression_result: bytes
        def __init__(self, model_spec: _Optional[_Union[_tensorflow_serving_pb2.ModelSpec, _Mapping]] = ..., classification_result: _Optional[bytes] = ..., regression_result: _Optional[bytes] = ...) -> None: ...
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[TasksResponse.TaskResult]
    def __init__(self, results: _Optional[_Iterable[_Union[TasksResponse.TaskResult, _Mapping]]] = ...) -> None: ...

class ExamplesRequest(_message.Message):
    __slots__ = ("model_spec", "input")
    class Examples(_message.Message):
        __slots__ = ("examples", "context")
        EXAMPLES_FIELD_NUMBER: _ClassVar[int]
        CONTEXT_FIELD_NUMBER: _ClassVar[int]
        examples: _containers.RepeatedScalarFieldContainer[bytes]
        context: bytes
        def __init__(self, examples: _Optional[_Iterable[bytes]] = ..., context: _Optional[bytes] = ...) -> None: ...
    class Input(_message.Message):
        __slots__ = ("example_list", "example_list_with_context")
        EXAMPLE_LIST_FIELD_NUMBER: _ClassVar[int]
        EXAMPLE_LIST_WITH_CONTEXT_FIELD_NUMBER: _ClassVar[int]
        example_list: ExamplesRequest.Examples
        example_list_with_context: ExamplesRequest.Examples
        def __init__(self, example_list: _Optional[_Union[ExamplesRequest.Examples, _Mapping]] = ..., example_list_with_context: _Optional[_Union[ExamplesRequest.Examples, _Mapping]] = ...) -> None: ...
    MODEL_SPEC_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    model_spec: _tensorflow_serving_pb2.ModelSpec
    input: ExamplesRequest.Input
    def __init__(self, model_spec: _Optional[_Union[_tensorflow_serving_pb2.ModelSpec, _Mapping]] = ..., input: _Optional[_Union[ExamplesRequest.Input, _Mapping]] = ...) -> None: ...

class ModelInferHead(_message.Message):
    __slots__ = ("model_name", "model_version", "id", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _open_inference_pb2.InferParameter
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_open_inference_pb2.InferParameter, _Mapping]] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    id: str
    parameters: _containers.MessageMap[str, _open_inference_pb2.InferParameter]
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., id: _Optional[str] = ..., parameters: _Optional[_Mapping[str, _open_inference_pb2.InferParameter]] = ...) -> None: ...
