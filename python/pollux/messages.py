"""Params and results, as JSON-RPC has them, to messages and back: what rpc/json_codec.h does, for gRPC."""

import errno
import functools
import json
import math

from google.protobuf.descriptor import FieldDescriptor

from pollux.errors import RpcError

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class _Wrong(Exception):
    def __init__(self, path, value, reason):
        super().__init__(path, value, reason)
        self.path, self.value, self.reason = path, value, reason


class Codec:
    """The messages of one catalog."""

    def __init__(self, catalog):
        self._catalog = catalog
        self._of_field = {}

    def encode(self, method, params):
        """The request of a call. What the server would say of params that do not decode is raised
        here, since no message can carry them."""
        message = self._catalog.new(method.request)
        try:
            self._fill(message, {} if params is None else params, "params", "")
        except _Wrong as wrong:
            value = wrong.value if isinstance(wrong.value, str) else json.dumps(wrong.value)
            data = {"field": wrong.path, "value": value, "reason": wrong.reason, "errno": errno.EINVAL}
            text = f"{wrong.path} '{value}': {wrong.reason}"
            error = {"code": method.decode_error, "message": text, "data": data}
            raise RpcError.of(error, method.name) from None
        return message

    def decode(self, method, data):
        """The result that a serialised response stands for."""
        message = self._catalog.new(method.response)
        message.ParseFromString(data)
        if not method.bare:
            return self._shown(message)
        field = message.DESCRIPTOR.fields_by_name[method.bare]
        return None if self._absent(message, field) else self._show(message, field)

    def decode_message(self, name, data):
        """A serialised message, by its full name, as JSON-RPC would show it."""
        message = self._catalog.new(name)
        message.ParseFromString(data)
        return self._shown(message)

    # Options, once for each field.

    def _options(self, field):
        if field.full_name not in self._of_field:
            options = field.GetOptions()
            names = ("json_key", "raw_json", "secret", "omit_empty")
            found = {name: self._catalog.option("Field", options, name) for name in names}
            found["json_key"] = found["json_key"] or field.name
            self._of_field[field.full_name] = found
        return self._of_field[field.full_name]

    @functools.lru_cache(maxsize=None)
    def _words(self, enum):
        """The words of an enumeration by number; "" stands for none."""
        words = {}
        for value in enum.values:
            word = self._catalog.option("EnumValue", value.GetOptions(), "json_value")
            words[value.number] = word or (value.name if value.number else "")
        return words

    # Params to a request.

    def _fill(self, message, params, name, path):
        if not isinstance(params, dict):
            raise _Wrong(name, params, "must be an object")
        fields = {self._options(field)["json_key"]: field for field in message.DESCRIPTOR.fields}
        for key, value in params.items():
            below = f"{path}.{key}" if path else key
            if key not in fields:
                known = ", ".join(fields)
                reason = f"is unknown; known are {known}" if fields else "is unknown: there are no parameters"
                raise _Wrong(below, value, reason)
            self._set(message, fields[key], value, below)

    def _set(self, message, field, value, path):
        if _is_map(field):
            if not isinstance(value, dict):
                raise _Wrong(path, value, "must be an object")
            inner = field.message_type.fields_by_name["value"]
            for key, one in value.items():
                if inner.message_type is not None:
                    self._fill(getattr(message, field.name)[key], one, f"{path}.{key}", f"{path}.{key}")
                else:
                    getattr(message, field.name)[key] = self._value(inner, one, f"{path}.{key}")
        elif field.label == field.LABEL_REPEATED:
            if not isinstance(value, (list, tuple)):
                raise _Wrong(path, value, "must be an array")
            values = getattr(message, field.name)
            for index, one in enumerate(value):
                place = f"{path}[{index}]"
                if field.message_type is not None:
                    self._fill(values.add(), one, place, place)
                else:
                    values.append(self._value(field, one, place))
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self._fill(inner, value, path, path)
        else:
            setattr(message, field.name, self._value(field, value, path))

    def _value(self, field, value, path):
        kind = field.cpp_type
        if kind == field.CPPTYPE_BOOL:
            return _checked(isinstance(value, bool), path, value, "must be true or false")
        if kind in _INTEGERS:
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            whole = isinstance(value, int) and not isinstance(value, bool)
            low, high = _INTEGERS[kind]
            good = whole and low <= value <= high
            return _checked(good, path, value, f"must be a whole number from {low} to {high}")
        if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return _checked(number and math.isfinite(value), path, value, "must be a number")
        if kind == field.CPPTYPE_ENUM:
            numbers = {word: number for number, word in self._words(field.enum_type).items() if word}
            good = isinstance(value, str) and value in numbers
            return numbers[_checked(good, path, value, f"must be one of {', '.join(numbers)}")]
        if self._options(field)["raw_json"]:
            return json.dumps(value)
        _checked(isinstance(value, str), path, value, "must be a string")
        if field.type != field.TYPE_BYTES:
            return value
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise _Wrong(path, value, "must be pairs of hexadecimal digits") from None

    # A response to a result.

    def _absent(self, message, field):
        options = self._options(field)
        if options["secret"]:
            return True
        if field.label == field.LABEL_REPEATED:
            return bool(options["omit_empty"]) and not getattr(message, field.name)
        if field.has_presence and not message.HasField(field.name):
            return True
        if field.cpp_type == field.CPPTYPE_ENUM:
            return getattr(message, field.name) == 0 and not self._words(field.enum_type)[0]
        return bool(options["raw_json"]) and not field.has_presence and not getattr(message, field.name)

    def _shown(self, message):
        return {
            self._options(field)["json_key"]: self._show(message, field)
            for field in message.DESCRIPTOR.fields
            if not self._absent(message, field)
        }

    def _show(self, message, field):
        value = getattr(message, field.name)
        if _is_map(field):
            inner = field.message_type.fields_by_name["value"]
            return {key: self._show_one(inner, value[key]) for key in sorted(value)}
        if field.label == field.LABEL_REPEATED:
            return [self._show_one(field, one) for one in value]
        return self._show_one(field, value)

    def _show_one(self, field, value):
        if field.message_type is not None:
            return self._shown(value)
        if field.cpp_type == field.CPPTYPE_ENUM:
            return self._words(field.enum_type).get(value, value)
        if field.type == field.TYPE_BYTES:
            return value.hex().upper()
        if self._options(field)["raw_json"]:
            return json.loads(value) if value else None
        return value


def _is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _checked(good, path, value, reason):
    if not good:
        raise _Wrong(path, value, reason)
    return value
