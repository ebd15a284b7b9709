"""Each method of the control plane is fully described: every face of it is made from these words."""

import json
import re
import subprocess

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import project

SERVICE, METHOD = 6, 2  # Field numbers of descriptor.proto, of which a location's path consists.
MESSAGE_TYPE, FIELD, NESTED_TYPE = 4, 2, 3


class Descriptors:
    def __init__(self, files):
        pool = descriptor_pool.DescriptorPool()
        for file in files:
            pool.Add(file)
        self.files = [file for file in files if file.package == "pollux.v1"]
        self.pool = pool
        self.factory = message_factory.MessageFactory(pool)
        self.factory.GetMessages([file.name for file in files])
        self.comments = {}
        self.messages = {}
        for file in self.files:
            for place in file.source_code_info.location:
                text = place.leading_comments + place.trailing_comments
                self.comments[(file.name, tuple(place.path))] = text.strip()
            for index, message in enumerate(file.message_type):
                self._add(file, f".{file.package}.{message.name}", message, (MESSAGE_TYPE, index))

    def _add(self, file, name, message, path):
        self.messages[name] = (file, message, path)
        for index, nested in enumerate(message.nested_type):
            self._add(file, f"{name}.{nested.name}", nested, (*path, NESTED_TYPE, index))

    def methods(self):
        """(file, method, path) of every rpc that JSON-RPC has too: of all but streams."""
        for file in self.files:
            for s, service in enumerate(file.service):
                for m, method in enumerate(service.method):
                    if method.server_streaming:
                        continue
                    yield file, method, (SERVICE, s, METHOD, m)

    def comment(self, file, path):
        return self.comments.get((file.name, tuple(path)), "")

    def option(self, kind, options, name):
        """An extension of ours in the options of a method or field; None when absent."""
        extension = self.pool.FindExtensionByName(f"pollux.v1.{name}")
        of_kind = self.factory.GetPrototype(
            self.pool.FindMessageTypeByName(f"google.protobuf.{kind}Options")
        )
        parsed = of_kind.FromString(options.SerializeToString())
        return parsed.Extensions[extension] if parsed.HasExtension(extension) else None

    def rpc(self, method):
        return self.option("Method", method.options, "rpc")

    def request_fields(self, method):
        """(file, message, field, path) of every field of a method's request, at any depth."""
        todo, seen = [method.input_type], set()
        while todo:
            name = todo.pop()
            if name in seen or name not in self.messages:
                continue
            seen.add(name)
            file, message, path = self.messages[name]
            for index, field in enumerate(message.field):
                yield file, message, field, (*path, FIELD, index)
                if field.type == field.TYPE_MESSAGE:
                    todo.append(field.type_name)


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory):
    proto = project.ROOT / "proto"
    out = tmp_path_factory.mktemp("descriptors") / "set.binpb"
    subprocess.run(
        ["protoc", "-I", proto, "--include_source_info", "--include_imports"]
        + [f"--descriptor_set_out={out}", *sorted(proto.glob("pollux/v1/*.proto"))],
        check=True,
    )
    return Descriptors(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file)


def test_each_method_has_a_name_of_its_own(descriptors):
    names = []
    for _, method, _ in descriptors.methods():
        rpc = descriptors.rpc(method)
        assert rpc is not None and rpc.name, method.name
        names.append(rpc.name)
    assert sorted(names) == sorted(set(names))


def test_each_method_and_each_parameter_has_a_comment(descriptors):
    bare = set()
    for file, method, path in descriptors.methods():
        if not descriptors.comment(file, path):
            bare.add(f"{file.name}: {method.name}")
        for owner, message, field, field_path in descriptors.request_fields(method):
            if not descriptors.comment(owner, field_path):
                bare.add(f"{owner.name}: {message.name}.{field.name}")
    assert not bare, "\n".join(sorted(bare))


def test_what_carries_the_methods_names_none(descriptors):
    names = {descriptors.rpc(method).name for _, method, _ in descriptors.methods()}
    named = set()
    for path in project.cpp_files():
        if path.parts[0] == "rpc":
            words = set(re.findall(r"\w+", (project.ROOT / path).read_text()))
            named |= {f"{path}: {name}" for name in words & names}
    assert not named, "\n".join(sorted(named))


def test_a_bare_result_is_a_field_of_the_response(descriptors):
    for _, method, _ in descriptors.methods():
        bare = descriptors.rpc(method).bare
        if bare:
            _, response, _ = descriptors.messages[method.output_type]
            assert bare in {field.name for field in response.field}, method.name


def test_a_method_that_makes_or_removes_an_object_has_its_name_and_changes_the_configuration(descriptors):
    for _, method, _ in descriptors.methods():
        rpc = descriptors.rpc(method)
        for kind in filter(None, (rpc.makes, rpc.removes)):
            _, request, _ = descriptors.messages[method.input_type]
            kinds = {descriptors.option("Field", field.options, "object") for field in request.field}
            assert kind in kinds, f"{method.name}: no field with (object) = {kind}"
            assert rpc.changes, method.name


def test_a_default_is_json_and_not_required(descriptors):
    for _, method, _ in descriptors.methods():
        for _, message, field, _ in descriptors.request_fields(method):
            default = descriptors.option("Field", field.options, "default")
            if default is not None:
                json.loads(default)
                assert not descriptors.option("Field", field.options, "required"), (
                    f"{message.name}.{field.name}"
                )
