from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    Json: _ClassVar[Format]
    Protobuf: _ClassVar[Format]
Json: Format
Protobuf: Format

class Envelope(_message.Message):
    __slots__ = ("Namespace", "Type", "UUID", "Status", "Format", "Obj")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    OBJ_FIELD_NUMBER: _ClassVar[int]
    Namespace: str
    Type: str
    UUID: str
    Status: int
    Format: Format
    Obj: bytes
    def __init__(self, Namespace: _Optional[str] = ..., Type: _Optional[str] = ..., UUID: _Optional[str] = ..., Status: _Optional[int] = ..., Format: _Optional[_Union[Format, str]] = ..., Obj: _Optional[bytes] = ...) -> None: ...
