from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BoolFilterOp(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OR: _ClassVar[BoolFilterOp]
    AND: _ClassVar[BoolFilterOp]
    NOT: _ClassVar[BoolFilterOp]

class SortOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NoOrder: _ClassVar[SortOrder]
    Ascending: _ClassVar[SortOrder]
    Descending: _ClassVar[SortOrder]
OR: BoolFilterOp
AND: BoolFilterOp
NOT: BoolFilterOp
NoOrder: SortOrder
Ascending: SortOrder
Descending: SortOrder

class TermStringFilter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: str
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[str] = ...) -> None: ...

class TermInt64Filter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: int
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[int] = ...) -> None: ...

class TermBoolFilter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: bool
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[bool] = ...) -> None: ...

class GtInt64Filter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: int
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[int] = ...) -> None: ...

class LtInt64Filter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: int
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[int] = ...) -> None: ...

class GteInt64Filter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: int
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[int] = ...) -> None: ...

class LteInt64Filter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: int
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[int] = ...) -> None: ...

class RegexFilter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: str
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[str] = ...) -> None: ...

class NullFilter(_message.Message):
    __slots__ = ("Key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    Key: str
    def __init__(self, Key: _Optional[str] = ...) -> None: ...

class IPV4RangeFilter(_message.Message):
    __slots__ = ("Key", "Value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    Key: str
    Value: str
    def __init__(self, Key: _Optional[str] = ..., Value: _Optional[str] = ...) -> None: ...

class BoolFilter(_message.Message):
    __slots__ = ("Op", "Filters")
    OP_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    Op: BoolFilterOp
    Filters: _containers.RepeatedCompositeFieldContainer[Filter]
    def __init__(self, Op: _Optional[_Union[BoolFilterOp, str]] = ..., Filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("TermStringFilter", "TermInt64Filter", "TermBoolFilter", "GtInt64Filter", "LtInt64Filter", "GteInt64Filter", "LteInt64Filter", "BoolFilter", "RegexFilter", "NullFilter", "IPV4RangeFilter")
    TERMSTRINGFILTER_FIELD_NUMBER: _ClassVar[int]
    TERMINT64FILTER_FIELD_NUMBER: _ClassVar[int]
    TERMBOOLFILTER_FIELD_NUMBER: _ClassVar[int]
    GTINT64FILTER_FIELD_NUMBER: _ClassVar[int]
    LTINT64FILTER_FIELD_NUMBER: _ClassVar[int]
    GTEINT64FILTER_FIELD_NUMBER: _ClassVar[int]
    LTEINT64FILTER_FIELD_NUMBER: _ClassVar[int]
    BOOLFILTER_FIELD_NUMBER: _ClassVar[int]
    REGEXFILTER_FIELD_NUMBER: _ClassVar[int]
    NULLFILTER_FIELD_NUMBER: _ClassVar[int]
    IPV4RANGEFILTER_FIELD_NUMBER: _ClassVar[int]
    TermStringFilter: TermStringFilter
    TermInt64Filter: TermInt64Filter
    TermBoolFilter: TermBoolFilter
    GtInt64Filter: GtInt64Filter
    LtInt64Filter: LtInt64Filter
    GteInt64Filter: GteInt64Filter
    LteInt64Filter: LteInt64Filter
    BoolFilter: BoolFilter
    RegexFilter: RegexFilter
    NullFilter: NullFilter
    IPV4RangeFilter: IPV4RangeFilter
    def __init__(self, TermStringFilter: _Optional[_Union[TermStringFilter, _Mapping]] = ..., TermInt64Filter: _Optional[_Union[TermInt64Filter, _Mapping]] = ..., TermBoolFilter: _Optional[_Union[TermBoolFilter, _Mapping]] = ..., GtInt64Filter: _Optional[_Union[GtInt64Filter, _Mapping]] = ..., LtInt64Filter: _Optional[_Union[LtInt64Filter, _Mapping]] = ..., GteInt64Filter: _Optional[_Union[GteInt64Filter, _Mapping]] = ..., LteInt64Filter: _Optional[_Union[LteInt64Filter, _Mapping]] = ..., BoolFilter: _Optional[_Union[BoolFilter, _Mapping]] = ..., RegexFilter: _Optional[_Union[RegexFilter, _Mapping]] = ..., NullFilter: _Optional[_Union[NullFilter, _Mapping]] = ..., IPV4RangeFilter: _Optional[_Union[IPV4RangeFilter, _Mapping]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("From", "To")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    From: int
    To: int
    def __init__(self, From: _Optional[int] = ..., To: _Optional[int] = ...) -> None: ...

class SearchQuery(_message.Message):
    __slots__ = ("Filter", "PaginationRange", "Sort", "Dedup", "DedupBy", "SortBy", "SortOrder")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGINATIONRANGE_FIELD_NUMBER: _ClassVar[int]
    SORT_FIELD_NUMBER: _ClassVar[int]
    DEDUP_FIELD_NUMBER: _ClassVar[int]
    DEDUPBY_FIELD_NUMBER: _ClassVar[int]
    SORTBY_FIELD_NUMBER: _ClassVar[int]
    SORTORDER_FIELD_NUMBER: _ClassVar[int]
    Filter: Filter
    PaginationRange: Range
    Sort: bool
    Dedup: bool
    DedupBy: str
    SortBy: str
    SortOrder: SortOrder
    def __init__(self, Filter: _Optional[_Union[Filter, _Mapping]] = ..., PaginationRange: _Optional[_Union[Range, _Mapping]] = ..., Sort: _Optional[bool] = ..., Dedup: _Optional[bool] = ..., DedupBy: _Optional[str] = ..., SortBy: _Optional[str] = ..., SortOrder: _Optional[_Union[SortOrder, str]] = ...) -> None: ...
