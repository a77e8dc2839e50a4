from skydiver.filters import filters_pb2 as _filters_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TableQuery(_message.Message):
    __slots__ = ("Type", "query")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    Type: str
    query: _filters_pb2.SearchQuery
    def __init__(self, Type: _Optional[str] = ..., query: _Optional[_Union[_filters_pb2.SearchQuery, _Mapping]] = ...) -> None: ...

class TableReply(_message.Message):
    __slots__ = ("Status", "FlowSetBytes")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FLOWSETBYTES_FIELD_NUMBER: _ClassVar[int]
    Status: int
    FlowSetBytes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, Status: _Optional[int] = ..., FlowSetBytes: _Optional[_Iterable[bytes]] = ...) -> None: ...
