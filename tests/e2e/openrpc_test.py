"""The OpenRPC document: whole, true of real answers and configurations, and what docs/api.md is made from."""

import json
import pathlib
import subprocess
import sys

import jsonschema
import pytest

import pollux
from exports import MIB, export, memory_disk, saved
from pollux.pytest_plugin import polluxd_path

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = polluxd_path().parent / "pollux"
# These end the process or wait.
LEFT_OUT = {"spdk_kill_instance", "framework_wait_init", "framework_start_init"}


@pytest.fixture(scope="module")
def printed():
    return subprocess.run([PROGRAM, "openrpc"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def document(printed):
    return json.loads(printed)


@pytest.fixture(scope="module")
def methods(document):
    return {method["name"]: method for method in document["methods"]}


def validator(document, schema):
    """Of the schema, whose references lead into the document."""
    return jsonschema.Draft7Validator(schema, resolver=jsonschema.RefResolver("", document))


def complaints(document, schema, value):
    return [f"{list(error.path)}: {error.message}" for error in validator(document, schema).iter_errors(value)]


def schemas_of(method):
    return [param["schema"] for param in method["params"]] + [method["result"]["schema"]]


def test_the_server_answers_what_the_program_prints(shared_polluxd, waiting_polluxd, document):
    assert shared_polluxd.client.call("rpc.discover") == document
    assert waiting_polluxd.client.call("rpc.discover") == document


def test_every_method_is_in_it_and_nothing_else(shared_polluxd, methods):
    named = set(shared_polluxd.client.rpc_get_methods())
    assert named == set(methods)
    assert "rpc.discover" in named


def test_it_has_the_form_of_openrpc(document, methods):
    assert document["openrpc"] == "1.2.6"
    assert document["info"]["title"] == "Pollux" and document["info"]["version"]
    assert len(methods) == len(document["methods"])
    for name, method in methods.items():
        assert method["summary"] and not method["summary"].endswith("."), name
        assert {"name", "schema"} <= set(method["result"]), name
        for param in method["params"]:
            assert {"name", "description", "required", "schema"} <= set(param) and param["description"], name
        codes = [error["code"] for error in method["errors"]]
        assert codes and len(codes) == len(set(codes)) and 0 not in codes, name
        required = [param["required"] for param in method["params"]]
        assert all(isinstance(one, bool) for one in required)


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_schema_is_one_and_leads_somewhere(document, methods):
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft7Validator.check_schema(schema)
        assert schema["type"] == "object", name
    for method in methods.values():
        for schema in schemas_of(method):
            jsonschema.Draft7Validator.check_schema(schema)
    used = {one.rpartition("/")[2] for one in references(document)}
    assert used == set(document["components"]["schemas"])
    assert {one.rpartition("/")[0] for one in references(document)} == {"#/components/schemas"}


def test_defaults_are_what_their_schemas_allow(document, methods):
    wrong = {}
    for name, method in methods.items():
        for param in method["params"]:
            if "default" in param["schema"]:
                found = complaints(document, param["schema"], param["schema"]["default"])
                if found:
                    wrong[name, param["name"]] = found
    assert not wrong


def test_results_are_what_their_schemas_say(polluxd, document, methods):
    """Of every method that reads and needs no parameters, with something to show."""
    client = polluxd.client
    export(client, memory_disk(client, MIB, name="Disk"))
    client.bdev_null_create("Null0", 2048, 512)
    client.bdev_set_qos_limit("Disk", rw_ios_per_sec=10000)
    client.nvmf_create_transport("TCP")
    client.nvmf_create_subsystem("nqn.2026-01.test:a", allow_any_host=True)
    client.nvmf_subsystem_add_ns("nqn.2026-01.test:a", {"bdev_name": "Null0"})
    wrong, answered = {}, 0
    for name, method in methods.items():
        needs = any(param["required"] for param in method["params"])
        if needs or method["x-changes-configuration"] or name in LEFT_OUT:
            continue
        try:
            result = client.call(name)
        except pollux.RpcError:
            continue
        answered += 1
        found = complaints(document, method["result"]["schema"], result)
        if found:
            wrong[name] = found[:5]
    assert not wrong, json.dumps(wrong, indent=1)
    assert answered >= 40, answered


def test_a_saved_configuration_is_what_the_parameters_say(polluxd, document, methods):
    client = polluxd.client
    export(client, memory_disk(client, MIB, name="Disk"))
    client.bdev_null_create("Null0", 2048, 512, uuid="11111111-2222-3333-4444-555555555555")
    client.nvmf_create_transport("TCP")
    client.nvmf_create_subsystem("nqn.2026-01.test:a", serial_number="S1")
    client.nvmf_subsystem_add_ns("nqn.2026-01.test:a", {"bdev_name": "Null0"})
    calls = [call for subsystem in saved(client) for call in subsystem["config"] or ()]
    assert len(calls) >= 8
    for call in calls:
        method = methods[call["method"]]
        params = {param["name"]: param for param in method["params"]}
        for name, value in call.get("params", {}).items():
            assert not complaints(document, params[name]["schema"], value), (call["method"], name)
        assert {name for name, param in params.items() if param["required"]} <= set(call.get("params", {}))


@pytest.mark.parametrize(
    "params, field",
    [
        ({"name": "N", "num_blocks": -1, "block_size": 512}, "num_blocks"),
        ({"name": "N", "num_blocks": 2**64, "block_size": 512}, "num_blocks"),
        ({"name": 7, "num_blocks": 8, "block_size": 512}, "name"),
        ({"name": "N", "num_blocks": 8, "block_size": "big"}, "block_size"),
        ({"name": "N", "num_blocks": 8, "block_size": 512, "dif_is_head_of_md": 1}, "dif_is_head_of_md"),
    ],
)
def test_what_a_schema_refuses_the_server_refuses(shared_polluxd, document, methods, params, field):
    by_name = {param["name"]: param["schema"] for param in methods["bdev_null_create"]["params"]}
    assert complaints(document, by_name[field], params[field])
    with pytest.raises(pollux.RpcError) as error:
        shared_polluxd.client.call("bdev_null_create", params)
    assert error.value.field == field


def test_the_reference_in_the_documentation_is_this_one(printed):
    made = subprocess.run(
        [sys.executable, ROOT / "docs/make_api.py"], input=printed, capture_output=True, text=True, check=True
    ).stdout
    kept = (ROOT / "docs/api.md").read_text()
    assert kept == made, "docs/api.md is old: build/bin/pollux openrpc | docs/make_api.py > docs/api.md"
