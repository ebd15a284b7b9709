"""What a call that is wrong gets: for every method, made from the descriptors."""

import json

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import pollux
from exports import saved
from pollux import descriptors

STARTUP = 1


def rpc_options():
    """The (rpc) option of each method, by name."""
    path = next(place for place in descriptors.places() if place.is_file())
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file)
    kind = pool.FindMessageTypeByName("google.protobuf.MethodOptions")
    options_of = message_factory.MessageFactory(pool).GetPrototype(kind)
    rpc = pool.FindExtensionByName("pollux.v1.rpc")
    found = {}
    for method in (method for file in files for service in file.service for method in service.method):
        parsed = options_of.FromString(method.options.SerializeToString())
        if parsed.HasExtension(rpc):
            found[parsed.Extensions[rpc].name] = parsed.Extensions[rpc]
    return found


OPTIONS = rpc_options()
METHODS = descriptors.load().methods
METHOD_NAMES = sorted(METHODS)


@pytest.fixture
def client(request):
    """Of a daemon in the state that the method wants."""
    name = request.node.callspec.params["name"]
    waiting = OPTIONS[name].state == STARTUP
    return request.getfixturevalue("waiting_polluxd" if waiting else "shared_polluxd").client


def some_value(parameter):
    """A value that decodes."""
    if parameter.fields is not None:
        value = {one.name: some_value(one) for one in parameter.fields if one.required}
    else:
        # An enumeration is known by its words.
        word = parameter.type.partition("|")[0]
        value = {"int": 1, "str": "x", "bool": True, "float": 1.5, "any JSON": {}}.get(word, word)
    return [value] if parameter.repeated else value


def required_of(method):
    return {one.name: some_value(one) for one in method.parameters if one.required}


def refused(client, name, params, field):
    """The call is refused since its parameters do not decode, and the field is named."""
    with pytest.raises(pollux.RpcError) as caught:
        client.call(name, params)
    assert caught.value.code == OPTIONS[name].decode_error, caught.value
    assert caught.value.field == field
    assert caught.value.reason and caught.value.errno
    return caught.value


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if not OPTIONS[name].relaxed])
def test_an_unknown_parameter_is_refused(client, name):
    error = refused(client, name, {"no_such_parameter": 1}, "no_such_parameter")
    assert error.value == "1"
    for parameter in METHODS[name].parameters:
        assert parameter.name in error.reason


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if required_of(METHODS[name])])
def test_a_missing_parameter_is_refused(client, name):
    for parameter in required_of(METHODS[name]):
        params = required_of(METHODS[name])
        del params[parameter]
        error = refused(client, name, params, parameter)
        assert "required" in error.reason


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if METHODS[name].parameters])
def test_a_value_of_the_wrong_type_is_refused(client, name):
    for parameter in METHODS[name].parameters:
        wrong_ones = [None, 5 if parameter.repeated or parameter.fields else []]
        if parameter.type == "str" and not parameter.repeated:
            wrong_ones += [5, "a\0b"]
        if parameter.type == "int" and not parameter.repeated:
            wrong_ones += ["5", 1.5, 2**64, -(2**63) - 1, True]
        if parameter.type == "bool":
            wrong_ones += [0, "true"]
        for wrong in wrong_ones:
            refused(client, name, required_of(METHODS[name]) | {parameter.name: wrong}, parameter.name)


def nested_parameters():
    for name in METHOD_NAMES:
        for parameter in METHODS[name].parameters:
            if parameter.fields:
                yield name, parameter


@pytest.mark.parametrize("name, parameter", nested_parameters(), ids=lambda one: getattr(one, "name", one))
def test_an_error_within_a_parameter_names_the_place(client, name, parameter):
    good = some_value(parameter)[0] if parameter.repeated else some_value(parameter)

    def params(inner):
        value = [good, inner] if parameter.repeated else inner
        return required_of(METHODS[name]) | {parameter.name: value}

    place = f"{parameter.name}[1]" if parameter.repeated else parameter.name
    refused(client, name, params(good | {"bogus": 1}), f"{place}.bogus")
    for one in parameter.fields:
        refused(client, name, params(good | {one.name: []}), f"{place}.{one.name}")
        if one.required:
            refused(client, name, params({k: v for k, v in good.items() if k != one.name}), f"{place}.{one.name}")


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_params_that_are_no_object_are_refused(client, name):
    refused(client, name, [1], "params")
    with pytest.raises(pollux.InvalidRequest):
        client.call(name, 5)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_parameter_given_twice_is_refused(client, name):
    for parameter in METHODS[name].parameters:
        pair = json.dumps({parameter.name: some_value(parameter)})[1:-1]
        client.connection.send(
            f'{{"jsonrpc":"2.0","id":"twice","method":"{name}","params":{{{pair},{pair}}}}}'.encode()
        )
        error = client.connection.receive(client.connection.deadline())["error"]
        assert (error["code"], error["data"]["field"]) == (OPTIONS[name].decode_error, parameter.name)


def test_an_unknown_method_is_named(shared_polluxd):
    with pytest.raises(pollux.MethodNotFound) as caught:
        shared_polluxd.client.call("bdev_malloc_creat")
    assert (caught.value.field, caught.value.value) == ("method", "bdev_malloc_creat")


# Anything at all.

# These end the process, or wait.
LEFT_OUT = {"spdk_kill_instance", "framework_start_init", "framework_wait_init"}
RANDOM_METHODS = [name for name in METHOD_NAMES if OPTIONS[name].state != STARTUP and name not in LEFT_OUT]
# Those that make and change objects, more often.
RANDOM_METHODS += [name for name in RANDOM_METHODS if OPTIONS[name].changes] * 3

INTEGERS = st.sampled_from(
    [-(2**31), -2, -1, 0, 1, 2, 3, 8, 64, 255, 256, 511, 512, 520, 4096, 65535, 65536, 2**31, 2**32, 2**63, 2**64 - 1]
)
# Names are few, so that calls meet each other's objects. No path leads to a file.
STRINGS = st.sampled_from(
    ["", "a", "b", "ANY", "!a", "iqn.2026-01.test:a", "iqn.2026-01.test:b", "127.0.0.1", "[::1]"]
    + ["0", "99999", "10.0.0.0/33"]
    + ["b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10", "not/there", "all", "maxmin", "ERROR", "%n%s", "ä\u2028", "x" * 300]
)
ANYTHING = st.one_of(INTEGERS, STRINGS, st.booleans(), st.none(), st.just([]), st.just({}), st.floats(-1, 1))


# What is sensible, mostly, so that random calls also succeed.
SENSIBLE = {
    "name": ["a", "b", "iqn.2026-01.test:a"],
    "bdev_name": ["a", "b"],
    "num_blocks": [8, 2048, 0],
    "block_size": [512, 4096, 513],
    "new_size": [1, 2, 0],
    "tag": [1, 2, 3, 0],
    "pg_tag": [1, 2],
    "ig_tag": [1, 2],
    "lun_id": [0, 1, 255, -1],
    "host": ["127.0.0.1"],
    "port": ["0", "0", "70000"],
    "initiators": ["ANY", "!iqn.2026-01.test:a", "iqn.2026-01.test:b", "-"],
    "netmasks": ["ANY", "10.0.0.0/8", "10.0.0.0/33"],
    "queue_depth": [0, 1, 64, 65],
    "alias_name": ["", "a"],
    "disable_chap": [True],
    "user": ["a", "b"],
    "secret": ["a", ""],
    "md_size": [0, 8],
    "dif_type": [0, 4],
    "wait": [False, True],
}


def value_of(parameter, wild):
    if parameter.name == "timeout":
        return st.integers(0, 2)
    if parameter.fields is not None:
        value = params_of(parameter.fields, wild)
    elif parameter.name in SENSIBLE and not wild:
        value = st.sampled_from(SENSIBLE[parameter.name])
    elif "|" in parameter.type:
        value = st.sampled_from(parameter.type.split("|"))
    else:
        value = {"int": INTEGERS, "str": STRINGS, "bool": st.booleans()}.get(parameter.type, ANYTHING)
    value = st.lists(value, min_size=0 if wild else 1, max_size=3) if parameter.repeated else value
    return st.one_of(value, ANYTHING) if wild else value


def params_of(parameters, wild):
    optional = [one for one in parameters if not one.required and (wild or one.name in SENSIBLE)]
    return st.fixed_dictionaries(
        {one.name: value_of(one, wild) for one in parameters if one.required},
        optional={one.name: value_of(one, wild) for one in optional},
    )


@st.composite
def calls(draw):
    name = draw(st.sampled_from(RANDOM_METHODS))
    return name, draw(params_of(METHODS[name].parameters, wild=draw(st.integers(0, 3)) == 0))


def remove_everything(client):
    for node in client.iscsi_get_target_nodes():
        client.iscsi_delete_target_node(node["name"])
    for group in client.iscsi_get_portal_groups():
        client.iscsi_delete_portal_group(group["tag"])
    for group in client.iscsi_get_initiator_groups():
        client.iscsi_delete_initiator_group(group["tag"])
    for group in client.iscsi_get_auth_groups():
        client.iscsi_delete_auth_group(group["tag"])
    stacked = {
        "bdev_passthru_create": lambda params: ("bdev_passthru_delete", {"name": params["name"]}),
        "bdev_delay_create": lambda params: ("bdev_delay_delete", {"name": params["name"]}),
        "bdev_error_create": lambda params: ("bdev_error_delete", {"name": f"EE_{params['base_name']}"}),
        "bdev_split_create": lambda params: ("bdev_split_delete", {"base_bdev": params["base_bdev"]}),
        "bdev_raid_create": lambda params: ("bdev_raid_delete", {"name": params["name"]}),
    }
    # Also those that wait for their base.
    for call in reversed(client.framework_get_config("bdev")):
        if call["method"] in stacked:
            client.call(*stacked[call["method"]](call["params"]))
    kinds = {"Malloc disk": "malloc", "Null disk": "null", "AIO disk": "aio", "URING bdev": "uring"}
    for bdev in client.bdev_get_bdevs():
        client.call(f"bdev_{kinds[bdev['product_name']]}_delete", {"name": bdev["name"]})


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(calls(), min_size=15, max_size=40))
def test_random_calls_do_all_or_nothing(shared_polluxd, sequence):
    client = shared_polluxd.client
    remove_everything(client)
    before = saved(client)
    for name, params in sequence:
        try:
            client.call(name, params)
            event(f"{name} succeeds")
        except pollux.RpcError as error:
            declared = OPTIONS[name]
            known = (declared.decode_error, declared.failure, declared.field_error)
            assert error.code in known or -200 < error.code < 0
            assert error.message
            assert saved(client) == before
        before = saved(client)
    remove_everything(client)
    for part in saved(client):
        options = ("bdev_nvme_set_", "accel_set_options", "iscsi_set_discovery_auth")
        objects = [call for call in part["config"] or [] if not call["method"].startswith(options)]
        assert len(objects) <= 1
