"""The methods of the control plane, as the descriptor set describes them."""

import dataclasses
import functools
import inspect
import json
import keyword
import os
import pathlib
import textwrap

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = pathlib.Path(__file__).resolve().parent
FILE = "pollux.binpb"


class DescriptorsMissing(Exception):
    """The descriptor set was found nowhere."""


def places():
    """Where the descriptor set may be, best first."""
    if "POLLUX_DESCRIPTORS" in os.environ:
        yield pathlib.Path(os.environ["POLLUX_DESCRIPTORS"])
        return
    if "POLLUX_BUILD" in os.environ:
        yield pathlib.Path(os.environ["POLLUX_BUILD"]) / "share/pollux" / FILE
    yield PACKAGE / FILE
    yield PACKAGE.parents[1] / "build/share/pollux" / FILE
    for prefix in ("/usr/local", "/usr"):
        yield pathlib.Path(prefix) / "share/pollux" / FILE


def load(path=None):
    """The catalog of a descriptor set: of `path`, or of the first that is there."""
    candidates = [pathlib.Path(path)] if path else list(places())
    for candidate in candidates:
        if candidate.is_file():
            return _load(candidate)
    raise DescriptorsMissing("no descriptor set: " + ", ".join(map(str, candidates)))


@functools.lru_cache(maxsize=None)
def _load(path):
    return Catalog(path.read_bytes())


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A field of a request, or of a message within one."""

    name: str  # Its key in JSON.
    type: str  # "int", "str", "bool", "float", "any JSON", an enumeration's values, or a message's name.
    repeated: bool
    required: bool
    default: object  # None: there is none.
    positional: bool
    help: str
    range: str
    unit: str
    fields: tuple  # Of a message: its fields. Otherwise None.

    @property
    def annotation(self):
        one = "{" + ", ".join(field.name for field in self.fields) + "}" if self.fields else self.type
        return f"list of {one}" if self.repeated else one


@dataclasses.dataclass(frozen=True)
class Method:
    """A method: its JSON-RPC name, its help and its parameters."""

    name: str
    service: str
    help: str
    parameters: tuple
    changes: bool
    path: str  # How gRPC calls it: "/pollux.v1.Bdev/GetBdevs".
    request: str  # The full name of its request,
    response: str  # and of its response.
    bare: str  # The field of the response that is the result; empty: all of it is.
    decode_error: int  # JSON-RPC's code for parameters that do not decode.

    @property
    def summary(self):
        return self.help.partition("\n")[0]

    @functools.cached_property
    def signature(self):
        """Required parameters may be given by position, in order; the others only by name."""
        kinds = inspect.Parameter
        first, rest = [], []
        for parameter in self.parameters:
            if not parameter.name.isidentifier() or keyword.iskeyword(parameter.name):
                continue
            by_position = parameter.required or parameter.positional
            (first if by_position else rest).append(
                kinds(
                    parameter.name,
                    kinds.POSITIONAL_OR_KEYWORD if by_position else kinds.KEYWORD_ONLY,
                    default=kinds.empty if parameter.required else parameter.default,
                    annotation=parameter.annotation,
                )
            )
        first.sort(key=lambda one: one.default is not kinds.empty)  # Stable: required ones first.
        return inspect.Signature(first + rest)

    @property
    def doc(self):
        lines = [self.help]
        if self.parameters:
            lines += ["", "Parameters:"]
        for parameter in self.parameters:
            facts = [parameter.annotation]
            if parameter.unit:
                facts.append(parameter.unit)
            if parameter.range:
                facts.append(parameter.range)
            if parameter.required:
                facts.append("required")
            elif parameter.default is not None:
                facts.append(f"default {json.dumps(parameter.default)}")
            lines.append(f"  {parameter.name} ({'; '.join(facts)})")
            lines.append(textwrap.indent(textwrap.fill(parameter.help, 90), "      "))
        return "\n".join(lines)

    def arguments(self, args, kwargs):
        """The params of a call. Raises TypeError, as Python does for its own functions, when the
        arguments do not fit. What is None is left out."""
        names = [name for name, one in self.signature.parameters.items() if one.kind != one.KEYWORD_ONLY]
        if len(args) > len(names):
            raise TypeError(f"{self.name}() takes {len(names)} by position, got {len(args)}")
        params = dict(zip(names, args))
        for name in kwargs:
            if name in params:
                raise TypeError(f"{self.name}() got {name!r} twice")
        params.update(kwargs)
        params = {name: value for name, value in params.items() if value is not None}
        _check(self.name, "", self.parameters, params)
        return params


def _check(method, path, parameters, params):
    """Names only: what a value may be, the server knows best."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in params:
        if name not in known:
            raise TypeError(f"{method}() has no parameter {path}{name}; it has {', '.join(known) or 'none'}")
    missing = [path + one.name for one in parameters if one.required and one.name not in params]
    if missing:
        raise TypeError(f"{method}() needs {', '.join(missing)}")
    for name, value in params.items():
        parameter = known[name]
        if parameter.fields is None:
            continue
        values = enumerate(value) if parameter.repeated and isinstance(value, (list, tuple)) else [("", value)]
        for index, one in values:
            if isinstance(one, dict):
                below = f"{path}{name}[{index}]." if parameter.repeated else f"{path}{name}."
                _check(method, below, parameter.fields, one)


class Catalog:
    """All methods, by JSON-RPC name, in the order of the descriptors."""

    def __init__(self, descriptor_set):
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
        self._pool = descriptor_pool.DescriptorPool()
        for file in files:
            self._pool.Add(file)
        self._factory = message_factory.MessageFactory(self._pool)
        self._options = {}  # Classes of options messages that know our extensions.
        self._messages = {}  # (message, comment by path, path) by full name.
        self._enums = {}
        ours = [(file, _comments(file)) for file in files if file.package.startswith("pollux.")]
        for file, comments in ours:
            self._add_types(file, "." + file.package, comments)
        self.methods = {}
        for file, comments in ours:
            for s, service in enumerate(file.service):
                for m, method in enumerate(service.method):
                    self._add_method(file, service, method, comments.get((6, s, 2, m), ""))

    def _add_types(self, file, package, comments):
        # The numbers are those of descriptor.proto, of which a comment's path consists.
        for index, enum in enumerate(file.enum_type):
            self._enums[f"{package}.{enum.name}"] = enum
        todo = [(f"{package}.{one.name}", one, (4, i)) for i, one in enumerate(file.message_type)]
        while todo:
            name, message, path = todo.pop()
            self._messages[name] = (message, comments, path)
            todo += [(f"{name}.{one.name}", one, (*path, 3, i)) for i, one in enumerate(message.nested_type)]
            for enum in message.enum_type:
                self._enums[f"{name}.{enum.name}"] = enum

    def new(self, name):
        """An empty message of the given full name."""
        return self._factory.GetPrototype(self._pool.FindMessageTypeByName(name))()

    def option(self, kind, options, name):
        """An option of ours, or None where it is not set. `kind`: "Method", "Field", "EnumValue"."""
        if kind not in self._options:
            type_of_kind = self._pool.FindMessageTypeByName(f"google.protobuf.{kind}Options")
            self._options[kind] = self._factory.GetPrototype(type_of_kind)
        parsed = self._options[kind].FromString(options.SerializeToString())
        extension = self._pool.FindExtensionByName(f"pollux.v1.{name}")
        return parsed.Extensions[extension] if parsed.HasExtension(extension) else None

    def _add_method(self, file, service, method, comment):
        rpc = self.option("Method", method.options, "rpc")
        if rpc is None:
            return
        self.methods[rpc.name] = Method(
            name=rpc.name,
            service=service.name,
            help=comment,
            parameters=self._parameters(method.input_type, ()),
            changes=rpc.changes,
            path=f"/{file.package}.{service.name}/{method.name}",
            request=method.input_type[1:],
            response=method.output_type[1:],
            bare=rpc.bare,
            decode_error=rpc.decode_error,
        )

    def _parameters(self, type_name, within):
        message, comments, path = self._messages[type_name]
        return tuple(
            self._parameter(field, comments.get((*path, 2, index), ""), (*within, type_name))
            for index, field in enumerate(message.field)
        )

    def _parameter(self, field, comment, within):
        def option(name):
            return self.option("Field", field.options, name)

        default = option("default")
        is_message = field.type == field.TYPE_MESSAGE and field.type_name not in within
        return Parameter(
            name=option("json_key") or field.name,
            type=self._type(field, option("raw_json")),
            repeated=field.label == field.LABEL_REPEATED,
            required=bool(option("required")),
            default=None if default is None else json.loads(default),
            positional=bool(option("positional")),
            help=comment,
            range=option("range") or "",
            unit=option("unit") or "",
            fields=self._parameters(field.type_name, within) if is_message else None,
        )

    def _type(self, field, raw_json):
        if raw_json:
            return "any JSON"
        if field.type == field.TYPE_ENUM:
            values = (
                self.option("EnumValue", value.options, "json_value") or (value.name if value.number else "")
                for value in self._enums[field.type_name].value
            )
            return "|".join(value for value in values if value)
        if field.type == field.TYPE_MESSAGE:
            return field.type_name.rpartition(".")[2]
        return {
            field.TYPE_BOOL: "bool",
            field.TYPE_STRING: "str",
            field.TYPE_BYTES: "str",
            field.TYPE_DOUBLE: "float",
            field.TYPE_FLOAT: "float",
        }.get(field.type, "int")


def _comments(file):
    """The comments of a file by path, without the blank that stands before each of their lines."""
    return {
        tuple(place.path): "\n".join(
            line[1:] if line.startswith(" ") else line for line in place.leading_comments.rstrip().split("\n")
        )
        for place in file.source_code_info.location
    }
