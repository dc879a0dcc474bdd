"""Models of JSON objects: what the server answers, as typed Python objects."""

from __future__ import annotations

import copy
import dataclasses
import re
import typing
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Type, TypeVar, Union

M = TypeVar("M", bound="Model")


class Unset:
    """The type of :data:`UNSET`."""

    _only: "Optional[Unset]" = None

    def __new__(cls) -> "Unset":
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "UNSET"


UNSET = Unset()
"""What leaves a setting as it is, where ``None`` removes it."""


class WrongShape(Exception):
    """An answer is not what it should be. The text names the field, never a value."""


def secret(**options: Any) -> Any:
    """A field that is not printed."""
    return dataclasses.field(metadata={"secret": True}, **options)


def named(name: str, **options: Any) -> Any:
    """A field that JSON calls otherwise."""
    return dataclasses.field(metadata={"name": name}, **options)


def secret_named(name: str, **options: Any) -> Any:
    return dataclasses.field(metadata={"name": name, "secret": True}, **options)


class Model:
    """An object that the server answers with.

    Its secrets are in its fields and nowhere in how it prints. ``to_dict`` returns
    the object as the server wrote it, with fields that this package does not know.
    """

    @classmethod
    def from_dict(cls: Type[M], wire: Any) -> M:
        if not isinstance(wire, dict):
            raise WrongShape(f"{cls.__name__} is not an object")
        values: Dict[str, Any] = {}
        for name, field in _fields(cls).items():
            if field.wire in wire and not (wire[field.wire] is None and field.optional):
                try:
                    values[name] = field.read(wire[field.wire])
                except WrongShape as wrong:
                    raise WrongShape(f"{field.wire}: {wrong}") from None
            elif field.required:
                raise WrongShape(f"{field.wire} is missing")
        model = cls(**values)
        object.__setattr__(model, "_wire", wire)
        return model

    def to_dict(self) -> Dict[str, Any]:
        """Returns the object as JSON has it, secrets included."""
        wire = self.__dict__.get("_wire")
        if wire is not None:
            return typing.cast(Dict[str, Any], copy.deepcopy(wire))
        out: Dict[str, Any] = {}
        for name, field in _fields(type(self)).items():
            value = getattr(self, name)
            if value is UNSET or (value is None and field.optional):
                continue
            out[field.wire] = to_wire(value)
        return out

    def __repr__(self) -> str:
        shown = []
        for name, field in _fields(type(self)).items():
            value = getattr(self, name)
            if field.secret and value:
                shown.append(f"{name}=<secret>")
            elif value is not None and value is not UNSET:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class _Field(typing.NamedTuple):
    wire: str
    read: Callable[[Any], Any]
    required: bool
    optional: bool
    secret: bool


_known: Dict[type, Dict[str, _Field]] = {}


def _fields(cls: type) -> Dict[str, _Field]:
    if cls not in _known:
        hints = typing.get_type_hints(cls)
        _known[cls] = {
            f.name: _Field(
                f.metadata.get("name", f.name),
                _reader(hints[f.name]),
                f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
                _is_optional(hints[f.name]),
                f.metadata.get("secret", False),
            )
            for f in dataclasses.fields(cls)
        }
    return _known[cls]


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) is Union and type(None) in typing.get_args(hint)


def _reader(hint: Any) -> Callable[[Any], Any]:
    """Returns what makes of JSON a value of the type."""
    if _is_optional(hint):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return _reader(inner[0] if len(inner) == 1 else Any)
    kind = typing.get_origin(hint)
    if kind in (list, List):
        read = _reader(typing.get_args(hint)[0])
        return lambda v: [read(item) for item in _of(list, v)]
    if kind in (dict, Dict):
        return lambda v: _of(dict, v)
    if hint is datetime:
        return lambda v: parse_time(_of(str, v))
    if hint is float:
        return lambda v: float(_of((int, float), v))
    if hint in (str, int, bool):
        return lambda v: _of(hint, v)
    if isinstance(hint, type) and issubclass(hint, Model):
        return hint.from_dict
    return lambda v: v


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise WrongShape("has another type")
    return value


_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)


def parse_time(text: str) -> datetime:
    """Returns the moment that an RFC 3339 text says, in UTC."""
    found = _TIME.match(text)
    if found is None:
        raise WrongShape("is not a time")
    year, month, day, hour, minute, second = (int(found[i]) for i in range(1, 7))
    micros = int((found[7] or "0").ljust(6, "0")[:6])
    offset = timedelta(0)
    if found[8] not in "Zz":
        offset = timedelta(hours=int(found[8][1:3]), minutes=int(found[8][4:6])) * (-1 if found[8][0] == "-" else 1)
    try:
        return (datetime(year, month, day, hour, minute, second, micros, timezone.utc) - offset).replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        raise WrongShape("is not a time") from None


def format_time(moment: datetime) -> str:
    """Returns a moment as the server writes it. One without a time zone is refused."""
    if moment.tzinfo is None:
        raise ValueError("a time needs a time zone: datetime.now(timezone.utc)")
    utc = moment.astimezone(timezone.utc)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0") + f"{utc.microsecond // 1000:03d}Z"


def to_wire(value: Any) -> Any:
    """Returns value as JSON has it."""
    if isinstance(value, Model):
        return value.to_dict()
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {name: to_wire(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_wire(inner) for inner in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return value


def body_of(**fields: Any) -> Dict[str, Any]:
    """Returns a body of the fields that are set."""
    return {name: to_wire(value) for name, value in fields.items() if value is not UNSET}


def given(**fields: Any) -> Dict[str, Any]:
    """Returns a body of the fields that are not None."""
    return {name: to_wire(value) for name, value in fields.items() if value is not None}
