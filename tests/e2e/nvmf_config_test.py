"""The NVMe-oF target's configuration: every nvmf_* method, what it refuses, and what stays over a restart."""

import json
import socket
import time

import pytest

import pollux
from exports import BLOCK, file_disk, memory_disk, saved, wait_until
from nvme_tcp_host import DISCOVERY_NQN, Controller, Host, Queue
from nvmf_exports import NQN, listen_address
from pollux.pytest_plugin import free_port

HOST = "nqn.2024-01.io.pollux:host"
UUID = "b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10"
INVALID, INTERNAL = -32602, -32603


@pytest.fixture
def client(polluxd):
    return polluxd.client


@pytest.fixture
def target(client):
    """A client whose polluxd has the transport and the subsystem."""
    client.nvmf_create_transport("TCP")
    client.nvmf_create_subsystem(NQN, allow_any_host=True, ana_reporting=True)
    return client


def refused(code, call, *args, field=None, errno=None, **kwargs):
    with pytest.raises(pollux.RpcError) as caught:
        call(*args, **kwargs)
    error = caught.value
    assert error.code == code, error
    assert error.field == field, error
    assert errno is None or error.errno == errno, error
    assert error.reason
    return error


def refused_and_unchanged(client, code, call, *args, **kwargs):
    before = saved(client)
    error = refused(code, call, *args, **kwargs)
    assert saved(client) == before
    return error


def listen(client, nqn=NQN, host="127.0.0.1", **more):
    address = host, free_port(host)
    client.nvmf_subsystem_add_listener(nqn, listen_address(*address), **more)
    return address


def subsystem(client, nqn=NQN):
    (one,) = client.nvmf_get_subsystems(nqn)
    return one


def pending(polluxd):
    return {(one["kind"], one["name"]): one for one in polluxd.client.pollux_get_status()["pending"]}


def shown(client):
    """What the get methods show of what is configured."""
    subsystems = client.nvmf_get_subsystems()
    return {
        "transports": client.nvmf_get_transports(),
        "subsystems": subsystems,
        "listeners": {one["nqn"]: client.nvmf_subsystem_get_listeners(one["nqn"]) for one in subsystems},
        "referrals": client.nvmf_discovery_get_referrals(),
    }


def nvmf_calls(client):
    return [one["method"] for one in client.framework_get_config("nvmf")]


# The target and its transports.


def test_there_is_one_target(client):
    assert client.nvmf_get_targets() == ["nvmf_tgt"]
    refused(INTERNAL, client.nvmf_create_target, "nvmf_tgt", errno=17)
    refused(INTERNAL, client.nvmf_create_target, "other", errno=95)
    refused(INVALID, client.nvmf_delete_target, "nvmf_tgt")
    refused(INVALID, client.nvmf_delete_target, "other")
    assert client.nvmf_get_targets() == ["nvmf_tgt"]


def test_another_target_has_nothing(target):
    other = {"tgt_name": "other"}
    refused(INTERNAL, target.nvmf_get_subsystems, **other)
    refused(INTERNAL, target.nvmf_create_subsystem, f"{NQN}-2", **other)
    refused(INTERNAL, target.nvmf_get_stats, **other)
    refused(INTERNAL, target.nvmf_get_transports, field="tgt_name", **other)
    assert target.nvmf_get_subsystems(tgt_name="nvmf_tgt") == target.nvmf_get_subsystems()


def test_a_transport_is_shown_as_it_was_made(client):
    assert client.nvmf_get_transports() == []
    assert client.nvmf_create_transport("tcp", max_queue_depth=256, c2h_success=False) is True
    assert client.nvmf_get_transports() == [
        {
            "trtype": "TCP",
            "max_queue_depth": 256,
            "max_io_qpairs_per_ctrlr": 127,
            "in_capsule_data_size": 8192,
            "max_io_size": 131072,
            "max_aq_depth": 128,
            "iobuf_small_cache_size": 4294967295,
            "iobuf_large_cache_size": 4294967295,
            "dif_insert_or_strip": False,
            "zcopy": False,
            "c2h_success": False,
            "sock_priority": 0,
            "abort_timeout_sec": 1,
            "ack_timeout": 0,
            "data_wr_pool_size": 4095,
            "disable_command_passthru": False,
            "kas": 100,
            "min_kato": 10000,
        }
    ]
    assert client.nvmf_get_transports(trtype="TCP") == client.nvmf_get_transports()
    refused(-19, client.nvmf_get_transports, trtype="RDMA")
    refused_and_unchanged(client, INTERNAL, client.nvmf_create_transport, "TCP", errno=17)


@pytest.mark.parametrize("trtype, errno", [("RDMA", 95), ("FC", 95), ("VFIOUSER", 95), ("pigeon", 22), ("", 22)])
def test_transports_that_are_not_there_say_so(client, trtype, errno):
    error = refused_and_unchanged(client, INVALID, client.nvmf_create_transport, trtype, field="trtype", errno=errno)
    assert "TCP" in error.reason


def test_parameters_of_other_transports_are_accepted(client):
    # What rpc.py sends whatever the transport is, and what is not a parameter at all.
    params = {"trtype": "TCP", "no_srq": False, "disable_mappable_bar0": False, "num_cqe": 4096, "of_no_meaning": 1}
    assert client.call("nvmf_create_transport", params) is True


@pytest.mark.parametrize(
    "options, field",
    [
        ({"max_queue_depth": 15}, "max_queue_depth"),
        ({"max_queue_depth": 1025}, "max_queue_depth"),
        ({"max_queue_depth": 65536}, "max_queue_depth"),
        ({"max_io_qpairs_per_ctrlr": 0}, "max_io_qpairs_per_ctrlr"),
        ({"max_io_qpairs_per_ctrlr": 128}, "max_io_qpairs_per_ctrlr"),
        ({"in_capsule_data_size": 8}, "in_capsule_data_size"),
        ({"in_capsule_data_size": 16384}, "in_capsule_data_size"),
        ({"max_io_size": 5000}, "max_io_size"),
        ({"max_io_size": 2 << 20}, "max_io_size"),
        ({"max_aq_depth": 31}, "max_aq_depth"),
        ({"kas": 0}, "kas"),
        ({"dif_insert_or_strip": True}, "dif_insert_or_strip"),
        ({"masked_oncs": ["nvmcmps"]}, "masked_oncs"),
        ({"masked_fuses": ["fcws"]}, "masked_fuses"),
    ],
    ids=str,
)
def test_an_unacceptable_transport_is_refused(client, options, field):
    refused_and_unchanged(client, INVALID, client.nvmf_create_transport, "TCP", field=field, **options)


# Subsystems.


def test_the_discovery_subsystem_is_there_and_stays(client):
    one = subsystem(client, DISCOVERY_NQN)
    assert one["subtype"] == "Discovery" and one["allow_any_host"] is True and one["hosts"] == []
    assert "serial_number" not in one and "max_namespaces" not in one
    refused(INVALID, client.nvmf_delete_subsystem, DISCOVERY_NQN, field="nqn")
    refused(INTERNAL, client.nvmf_create_subsystem, DISCOVERY_NQN, errno=17)


def test_a_subsystem_is_shown_as_it_was_made(client):
    options = {"serial_number": "S1", "model_number": "Model", "admin_label": "label", "max_namespaces": 8}
    more = {"min_cntlid": 5, "max_cntlid": 6, "dmrsl": 16, "wzsl": 3}
    assert client.nvmf_create_subsystem(NQN, **options, **more) is True
    assert subsystem(client) == {
        "nqn": NQN,
        "subtype": "NVMe",
        "listen_addresses": [],
        "allow_any_host": False,
        "hosts": [],
        **options,
        "passthrough": False,
        **more,
        "namespaces": [],
    }
    assert [one["nqn"] for one in client.nvmf_get_subsystems()] == [DISCOVERY_NQN, NQN]
    refused_and_unchanged(client, INTERNAL, client.nvmf_create_subsystem, NQN, errno=17)
    assert client.nvmf_delete_subsystem(NQN) is True
    refused(INVALID, client.nvmf_delete_subsystem, NQN, field="nqn", errno=2)
    refused(INVALID, client.nvmf_get_subsystems, NQN, field="nqn", errno=2)


def test_what_is_left_out_has_the_defaults_of_spdk(client):
    client.nvmf_create_subsystem(NQN, max_namespaces=0)
    one = subsystem(client)
    assert (one["serial_number"], one["model_number"]) == ("0" * 20, "SPDK_bdev_Controller")
    assert (one["max_namespaces"], one["min_cntlid"], one["max_cntlid"]) == (32, 1, 65519)
    assert (one["dmrsl"], one["wzsl"]) == (2097152, 12)
    assert "admin_label" not in one


@pytest.mark.parametrize(
    "nqn, options, field",
    [
        ("", {}, "nqn"),
        ("disk", {}, "nqn"),
        ("nqn.2024-01.io.pollux", {}, "nqn"),
        ("nqn.2024-13.io.pollux:x", {}, "nqn"),
        ("nqn.2024-01.io.pollux:" + "x" * 224, {}, "nqn"),
        ("nqn.2024-01.io.pollux:\x07", {}, "nqn"),
        ("nqn.2014-08.org.nvmexpress:uuid:1", {}, "nqn"),
        (NQN, {"serial_number": "1" * 21}, "serial_number"),
        (NQN, {"serial_number": ""}, "serial_number"),
        (NQN, {"model_number": "m" * 41}, "model_number"),
        (NQN, {"model_number": "\u00e4"}, "model_number"),
        (NQN, {"max_namespaces": 1 << 20}, "max_namespaces"),
        (NQN, {"min_cntlid": 0}, "min_cntlid"),
        (NQN, {"max_cntlid": 65520}, "max_cntlid"),
        (NQN, {"max_cntlid": 65536}, "max_cntlid"),
        (NQN, {"min_cntlid": 9, "max_cntlid": 8}, "max_cntlid"),
        (NQN, {"wzsl": 256}, "wzsl"),
        (NQN, {"passthrough": True}, "passthrough"),
        (NQN, {"enable_nssr": True}, "enable_nssr"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_unacceptable_subsystem_is_refused(client, nqn, options, field):
    refused_and_unchanged(client, INVALID, client.nvmf_create_subsystem, nqn, field=field, **options)


# Namespaces.


def test_namespaces_have_the_lowest_free_number_and_the_identity_of_their_disk(target):
    memory_disk(target, name="A", uuid=UUID)
    assert target.nvmf_subsystem_add_ns(NQN, {"bdev_name": "A"}) == 1
    (one,) = subsystem(target)["namespaces"]
    digits = UUID.replace("-", "").upper()
    assert one == {"nsid": 1, "bdev_name": "A", "name": "A", "nguid": digits, "uuid": UUID, "anagrpid": 1}
    memory_disk(target, name="B")
    identity = {"nguid": "0123456789ABCDEF" * 2, "eui64": "0011223344556677", "uuid": UUID[:-1] + "1"}
    asked = {"bdev_name": "B", "nsid": 7, "anagrpid": 3, **identity}
    assert target.nvmf_subsystem_add_ns(NQN, asked) == 7
    assert subsystem(target)["namespaces"][1] == {"name": "B", **asked}
    memory_disk(target, name="C")
    assert target.nvmf_subsystem_add_ns(NQN, {"bdev_name": "C"}) == 2
    assert target.nvmf_subsystem_remove_ns(NQN, 1) is True
    assert [ns["nsid"] for ns in subsystem(target)["namespaces"]] == [2, 7]
    refused(INVALID, target.nvmf_subsystem_remove_ns, NQN, 1, field="nsid", errno=2)


@pytest.mark.parametrize(
    "namespace, field, errno",
    [
        ({"bdev_name": "No"}, "bdev_name", 19),
        ({"bdev_name": ""}, "bdev_name", None),
        ({"bdev_name": "B", "nsid": 0}, "nsid", 22),
        ({"bdev_name": "B", "nsid": 1}, "nsid", 17),
        ({"bdev_name": "B", "nsid": 33}, "nsid", 22),
        ({"bdev_name": "B", "anagrpid": 33}, "anagrpid", 22),
        ({"bdev_name": "B", "nguid": "12"}, "nguid", 22),
        ({"bdev_name": "B", "nguid": "0" * 32}, "nguid", 22),
        ({"bdev_name": "B", "nguid": "x" * 32}, "nguid", 22),
        ({"bdev_name": "B", "eui64": "0" * 16}, "eui64", 22),
        ({"bdev_name": "B", "eui64": "1" * 15}, "eui64", 22),
        ({"bdev_name": "B", "uuid": "no"}, "uuid", 22),
        ({"bdev_name": "B", "uuid": UUID}, "uuid", 17),
        ({"bdev_name": "A"}, "uuid", 17),
        ({"bdev_name": "B", "hide_metadata": True}, "hide_metadata", 95),
    ],
    ids=lambda value: str(value)[:50],
)
def test_an_unacceptable_namespace_is_refused(target, namespace, field, errno):
    memory_disk(target, name="A", uuid=UUID)
    memory_disk(target, name="B")
    target.nvmf_subsystem_add_ns(NQN, {"bdev_name": "A"})
    add = target.nvmf_subsystem_add_ns
    refused_and_unchanged(target, INVALID, add, NQN, namespace, field=f"namespace.{field}", errno=errno)
    refused(INVALID, add, f"{NQN}-no", {"bdev_name": "B"}, field="nqn", errno=2)


def test_a_namespace_may_be_moved_to_another_group_and_shown_to_some(target):
    memory_disk(target, name="A")
    target.nvmf_subsystem_add_ns(NQN, {"bdev_name": "A", "no_auto_visible": True})
    assert target.nvmf_subsystem_set_ns_ana_group(NQN, 1, 9) is True
    assert subsystem(target)["namespaces"][0]["anagrpid"] == 9
    refused(INVALID, target.nvmf_subsystem_set_ns_ana_group, NQN, 1, 0, field="anagrpid")
    refused(INVALID, target.nvmf_subsystem_set_ns_ana_group, NQN, 2, 1, field="nsid")
    assert target.nvmf_ns_add_host(NQN, 1, HOST) is True
    refused(INVALID, target.nvmf_ns_add_host, NQN, 1, HOST, field="host", errno=17)
    refused(INVALID, target.nvmf_ns_add_host, NQN, 2, HOST, field="nsid", errno=2)
    address = listen(target)
    with Controller(address, NQN, Host(HOST)) as sees, Controller(address, NQN) as does_not:
        assert any(sees.identify(2).check().data) and not any(does_not.identify(2).check().data)
    assert target.nvmf_ns_remove_host(NQN, 1, HOST) is True
    refused(INVALID, target.nvmf_ns_remove_host, NQN, 1, HOST, field="host", errno=2)


def test_a_disk_that_is_exported_goes_and_comes_back(polluxd, target):
    memory_disk(target, name="A")
    target.nvmf_subsystem_add_ns(NQN, {"bdev_name": "A"})
    target.bdev_malloc_delete("A")
    assert ("nvmf_namespace", f"{NQN} 1") in pending(polluxd)
    (one,) = subsystem(target)["namespaces"]
    assert one == {"nsid": 1, "bdev_name": "A", "name": "A", "anagrpid": 1}
    memory_disk(target, name="A", uuid=UUID)
    assert wait_until(lambda: subsystem(target)["namespaces"][0].get("uuid") == UUID)
    assert not pending(polluxd)


# Hosts.


def test_hosts_are_admitted_and_taken_out_again(client):
    client.nvmf_create_subsystem(NQN)
    assert client.nvmf_subsystem_add_host(NQN, HOST) is True
    assert subsystem(client)["hosts"] == [{"nqn": HOST}]
    refused_and_unchanged(client, INVALID, client.nvmf_subsystem_add_host, NQN, HOST, field="host", errno=17)
    refused_and_unchanged(client, INVALID, client.nvmf_subsystem_add_host, NQN, "host", field="host")
    assert client.nvmf_subsystem_allow_any_host(NQN, True) is True
    assert subsystem(client)["allow_any_host"] is True
    assert client.nvmf_subsystem_remove_host(NQN, HOST) is True
    assert subsystem(client)["hosts"] == []
    refused_and_unchanged(client, INVALID, client.nvmf_subsystem_remove_host, NQN, HOST, field="host", errno=2)
    for call, more in (
        (client.nvmf_subsystem_add_host, HOST),
        (client.nvmf_subsystem_remove_host, HOST),
        (client.nvmf_subsystem_allow_any_host, True),
    ):
        refused(INVALID, call, f"{NQN}-no", more, field="nqn", errno=2)


@pytest.mark.parametrize("key", ["psk", "dhchap_key", "dhchap_ctrlr_key"])
def test_keys_are_refused_until_there_is_authentication(client, key):
    client.nvmf_create_subsystem(NQN)
    add = client.nvmf_subsystem_add_host
    refused_and_unchanged(client, INVALID, add, NQN, HOST, field=key, errno=95, **{key: "key0"})
    refused(-95, client.nvmf_subsystem_set_keys, NQN, HOST, dhchap_key="key0")
    refused(INVALID, client.nvmf_subsystem_set_keys, f"{NQN}-no", HOST, field="nqn")


def test_a_host_that_is_removed_is_cut_off(target):
    target.nvmf_subsystem_add_host(NQN, HOST)
    target.nvmf_subsystem_allow_any_host(NQN, False)
    address = listen(target)
    with Controller(address, NQN, Host(HOST)):
        assert len(target.nvmf_subsystem_get_controllers(NQN)) == 1
        began = time.monotonic()
        target.nvmf_subsystem_remove_host(NQN, HOST, timeout_ms=200)
        assert time.monotonic() - began > 0.15, "it may stay for a while"
        assert target.nvmf_subsystem_get_controllers(NQN) == []
    with Queue(address) as queue:
        assert not queue.connect(NQN, Host(HOST)).ok


# Listeners.


def test_a_listener_is_shown_and_closed(target):
    host, port = listen(target)
    address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": host, "trsvcid": str(port)}
    assert subsystem(target)["listen_addresses"] == [address]
    (one,) = target.nvmf_subsystem_get_listeners(NQN)
    assert one["address"] == address
    assert one["ana_states"] == [{"ana_group": n, "ana_state": "optimized"} for n in range(1, 33)]
    socket.create_connection((host, port), 5).close()
    assert target.nvmf_subsystem_remove_listener(NQN, address) is True
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), 5)
    refused(INVALID, target.nvmf_subsystem_remove_listener, NQN, address, field="listen_address", errno=2)


def test_without_ana_reporting_no_states_are_shown(target):
    target.nvmf_create_subsystem(f"{NQN}-2")
    address = listen_address(*listen(target, f"{NQN}-2"))
    (one,) = target.nvmf_subsystem_get_listeners(f"{NQN}-2")
    assert "ana_states" not in one
    call = target.nvmf_subsystem_listener_set_ana_state
    refused(INVALID, call, f"{NQN}-2", address, "inaccessible", field="nqn")


def test_ana_states_are_set_for_all_groups_or_one(target):
    address = listen_address(*listen(target, ana_state="non_optimized"))
    set_state = target.nvmf_subsystem_listener_set_ana_state

    def states():
        (one,) = target.nvmf_subsystem_get_listeners(NQN)
        return [each["ana_state"] for each in one["ana_states"]]

    assert states() == ["non_optimized"] * 32
    assert set_state(NQN, address, "inaccessible") is True
    assert states() == ["inaccessible"] * 32
    assert set_state(NQN, address, "optimized", anagrpid=2) is True
    assert states() == ["inaccessible", "optimized"] + ["inaccessible"] * 30
    refused(INVALID, set_state, NQN, address, "optimized", anagrpid=33, field="anagrpid")
    refused(INVALID, set_state, NQN, address, "optimized", anagrpid=0, field="anagrpid")
    refused(INVALID, set_state, NQN, address, "best", field="ana_state")
    nowhere = listen_address("127.0.0.1", free_port())
    refused(INVALID, set_state, NQN, nowhere, "optimized", field="listen_address", errno=2)


def test_a_port_that_another_process_has_is_refused_with_the_reason(target):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = listen_address(*taken.getsockname())
        add = target.nvmf_subsystem_add_listener
        refused_and_unchanged(target, INVALID, add, NQN, address, field="listen_address.traddr", errno=98)
        assert target.nvmf_subsystem_get_listeners(NQN) == []
    assert target.nvmf_subsystem_add_listener(NQN, address) is True
    refused_and_unchanged(target, INVALID, add, NQN, address, field="listen_address", errno=17)


def test_a_free_port_is_chosen_and_kept(polluxd, target):
    target.nvmf_subsystem_add_listener(NQN, listen_address("127.0.0.1", 0))
    (one,) = subsystem(target)["listen_addresses"]
    assert int(one["trsvcid"]) > 0
    polluxd.restart()
    assert subsystem(polluxd.client)["listen_addresses"] == [one]


@pytest.mark.parametrize(
    "address, field",
    [
        ({"trtype": "RDMA"}, "trtype"),
        ({"trtype": "VFIOUSER"}, "trtype"),
        ({"trtype": "x"}, "trtype"),
        ({"traddr": "localhost"}, "traddr"),
        ({"traddr": ""}, "traddr"),
        ({"traddr": "192.0.2.1"}, "traddr"),
        ({"adrfam": "IPv6"}, "adrfam"),
        ({"trsvcid": "65536"}, "trsvcid"),
        ({"trsvcid": "http"}, "trsvcid"),
    ],
    ids=str,
)
def test_an_unacceptable_listener_is_refused(target, address, field):
    whole = listen_address("127.0.0.1", free_port()) | address
    add = target.nvmf_subsystem_add_listener
    refused_and_unchanged(target, INVALID, add, NQN, whole, field=f"listen_address.{field}")


def test_a_listener_needs_its_transport_and_no_tls(client):
    client.nvmf_create_subsystem(NQN)
    address = listen_address("127.0.0.1", free_port())
    add = client.nvmf_subsystem_add_listener
    refused(INVALID, add, NQN, address, field="listen_address.trtype", errno=2)
    client.nvmf_create_transport("TCP")
    refused(INVALID, add, NQN, address, secure_channel=True, field="secure_channel", errno=95)
    refused(INVALID, add, NQN, address, ana_state="inaccessible", field="ana_state")


# Discovery.


def test_referrals_are_shown_and_go(client):
    there = listen_address("192.0.2.1", 8009)
    assert client.nvmf_discovery_add_referral({"trtype": "tcp", "traddr": "192.0.2.1"}) is True
    assert client.nvmf_discovery_get_referrals() == [
        {"address": there, "secure_channel": False, "subnqn": DISCOVERY_NQN}
    ]
    add, remove = client.nvmf_discovery_add_referral, client.nvmf_discovery_remove_referral
    refused_and_unchanged(client, INVALID, add, there, field="address", errno=17)
    refused(INVALID, add, there, subnqn="no", field="subnqn")
    refused(INVALID, add, there, secure_channel=True, field="secure_channel", errno=95)
    refused(INVALID, add, there | {"traddr": "no"}, field="address.traddr")
    refused(INVALID, remove, there, subnqn=f"{NQN}", field="address", errno=2)
    assert remove(there) is True
    assert client.nvmf_discovery_get_referrals() == []


def test_mdns_says_that_it_is_not_there(client):
    refused(-95, client.nvmf_publish_mdns_prr)
    refused(INTERNAL, client.nvmf_stop_mdns_prr, errno=95)


# What is connected.


def test_controllers_and_queues_are_shown(target):
    memory_disk(target, name="A")
    target.nvmf_subsystem_add_ns(NQN, {"bdev_name": "A"})
    host, port = listen(target)
    assert target.nvmf_subsystem_get_controllers(NQN) == []
    who = Host(HOST)
    with Controller((host, port), NQN, who) as controller:
        controller.create_queues(2)
        controller.read(1, 0, 8)
        (one,) = target.nvmf_subsystem_get_controllers(NQN)
        assert one["cntlid"] == controller.cntlid and one["hostnqn"] == HOST and one["cntrltype"] == "io"
        assert one["num_io_qpairs"] == 2 and one["hostid"].replace("-", "") == who.id.hex()
        queues = target.nvmf_subsystem_get_qpairs(NQN)
        assert [queue["qid"] for queue in queues] == [0, 1, 2]
        for queue in queues:
            assert queue["state"] == "enabled" and queue["hostnqn"] == HOST and queue["thread"]
            assert queue["listen_address"] == listen_address(host, port)
            assert queue["peer_address"]["traddr"] == "127.0.0.1"
        stats = target.nvmf_get_stats()
        assert stats["tick_rate"] == 10**9
        groups = stats["poll_groups"]
        assert groups[0]["name"] == "nvmf_tgt_poll_group_000" and groups[0]["transports"] == [{"trtype": "TCP"}]
        assert sum(group["current_io_qpairs"] for group in groups) == 2
        assert sum(group["completed_nvme_io"] for group in groups) >= 1
    assert wait_until(lambda: target.nvmf_subsystem_get_controllers(NQN) == [])
    groups = target.nvmf_get_stats()["poll_groups"]
    assert sum(group["io_qpairs"] for group in groups) == 2
    assert sum(group["completed_nvme_io"] for group in groups) >= 1
    for call in ("controllers", "qpairs", "listeners"):
        refused(INVALID, getattr(target, f"nvmf_subsystem_get_{call}"), f"{NQN}-no", field="nqn", errno=2)


def test_a_deleted_subsystem_lets_go_of_its_hosts_and_disks(target):
    memory_disk(target, name="A")
    target.nvmf_subsystem_add_ns(NQN, {"bdev_name": "A"})
    address = listen(target)
    with Controller(address, NQN) as controller:
        controller.create_queues(1)
        assert target.nvmf_delete_subsystem(NQN) is True
    target.bdev_malloc_delete("A")
    assert nvmf_calls(target) == ["nvmf_create_transport"]


# Before initialisation.


def test_the_start_up_methods(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    client = polluxd.client
    assert client.nvmf_set_config(
        admin_cmd_passthru={"identify_ctrlr": False},
        discovery_filters=["transport", "address"],
        dhchap_digests=["sha256"],
        dhchap_dhgroups=["null", "ffdhe2048"],
        dup_host_policy="allow",
    )
    assert client.nvmf_set_config(discovery_filter="match_any")
    refused(INVALID, client.nvmf_set_config, discovery_filter="name", field="discovery_filter")
    passthru = {"identify_ctrlr": True}
    refused(INVALID, client.nvmf_set_config, admin_cmd_passthru=passthru, field="admin_cmd_passthru")
    refused(INVALID, client.nvmf_set_config, poll_groups_mask="0x8000000000", field="poll_groups_mask")
    refused(INVALID, client.nvmf_set_config, poll_groups_mask="x", field="poll_groups_mask")
    refused(INVALID, client.nvmf_set_max_subsystems, 0, field="max_subsystems")
    assert client.nvmf_set_max_subsystems(2) is True
    refused(INTERNAL, client.nvmf_set_max_subsystems, 3)
    assert client.nvmf_set_crdt(crdt1=10) is True
    refused(INVALID, client.nvmf_set_crdt, crdt2=65536, field="crdt2")
    client.framework_start_init()
    for number in range(2):
        client.nvmf_create_subsystem(f"{NQN}-{number}")
    refused(INTERNAL, client.nvmf_create_subsystem, NQN, errno=28)
    calls = nvmf_calls(client)
    assert calls[:3] == ["nvmf_set_config", "nvmf_set_max_subsystems", "nvmf_set_crdt"]
    for call in (client.nvmf_set_config, client.nvmf_set_crdt):
        refused(-1, call)


# What stays.


def configure(client, path):
    """Something of everything."""
    client.nvmf_create_transport("TCP", max_queue_depth=64, max_io_size=262144)
    client.nvmf_discovery_add_referral(listen_address("192.0.2.1", 8009))
    client.nvmf_create_subsystem(NQN, serial_number="S1", ana_reporting=True, max_namespaces=8)
    client.nvmf_create_subsystem(f"{NQN}-2", allow_any_host=True)
    client.nvmf_subsystem_allow_any_host(f"{NQN}-2", False)
    client.nvmf_subsystem_add_host(NQN, HOST)
    client.nvmf_subsystem_add_host(NQN, f"{HOST}-2")
    client.nvmf_subsystem_remove_host(NQN, f"{HOST}-2")
    file_disk(client, path, name="File")
    client.nvmf_subsystem_add_ns(NQN, {"bdev_name": "File", "no_auto_visible": True, "eui64": "0011223344556677"})
    client.nvmf_ns_add_host(NQN, 1, HOST)
    client.nvmf_ns_add_host(NQN, 1, f"{HOST}-2")
    client.nvmf_ns_remove_host(NQN, 1, f"{HOST}-2")
    client.nvmf_subsystem_set_ns_ana_group(NQN, 1, 5)
    address = listen_address(*listen(client))
    listen(client, f"{NQN}-2")
    listen(client, DISCOVERY_NQN)
    client.nvmf_subsystem_listener_set_ana_state(NQN, address, "non_optimized")
    client.nvmf_subsystem_listener_set_ana_state(NQN, address, "inaccessible", anagrpid=3)


def test_everything_survives_a_restart_and_a_kill(polluxd, tmp_path):
    configure(polluxd.client, tmp_path / "disk")
    before, configuration = shown(polluxd.client), saved(polluxd.client)
    polluxd.restart()
    assert shown(polluxd.client) == before
    assert saved(polluxd.client) == configuration
    polluxd.kill()
    polluxd.start()
    assert shown(polluxd.client) == before
    host, port = before["subsystems"][1]["listen_addresses"][0]["traddr"], None
    port = int(before["subsystems"][1]["listen_addresses"][0]["trsvcid"])
    with Controller((host, port), NQN, Host(HOST)) as controller:
        assert any(controller.identify(2).check().data)


def test_the_saved_configuration_is_in_the_order_of_spdk_and_loads_elsewhere(polluxd, start_polluxd, tmp_path):
    configure(polluxd.client, tmp_path / "disk")
    before, configuration = shown(polluxd.client), saved(polluxd.client)
    order = [
        *("nvmf_create_transport", "nvmf_discovery_add_referral", "nvmf_create_subsystem"),
        *("nvmf_subsystem_add_host", "nvmf_subsystem_add_ns", "nvmf_ns_add_host", "nvmf_subsystem_add_listener"),
        "nvmf_subsystem_listener_set_ana_state",
    ]
    calls = nvmf_calls(polluxd.client)
    assert calls == sorted(calls, key=order.index)
    assert calls.count("nvmf_subsystem_add_host") == 1 and calls.count("nvmf_ns_add_host") == 1
    names = [one["subsystem"] for one in configuration]
    assert names.index("bdev") < names.index("nvmf")
    polluxd.stop()
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"subsystems": configuration}))
    other = start_polluxd("-c", path)
    assert shown(other.client) == before


def test_what_is_deleted_does_not_come_back(polluxd, tmp_path):
    configure(polluxd.client, tmp_path / "disk")
    for nqn in (NQN, f"{NQN}-2"):
        polluxd.client.nvmf_delete_subsystem(nqn)
    polluxd.client.nvmf_discovery_remove_referral(listen_address("192.0.2.1", 8009))
    polluxd.restart()
    assert [one["nqn"] for one in polluxd.client.nvmf_get_subsystems()] == [DISCOVERY_NQN]
    assert polluxd.client.nvmf_discovery_get_referrals() == []
    assert nvmf_calls(polluxd.client) == ["nvmf_create_transport", "nvmf_subsystem_add_listener"]


def test_a_namespace_whose_disk_is_missing_at_start_waits_for_it(polluxd, tmp_path):
    client, path = polluxd.client, tmp_path / "disk"
    configure(client, path)
    before = subsystem(client)["namespaces"]
    polluxd.stop()
    path.rename(tmp_path / "away")
    polluxd.start()
    assert ("nvmf_namespace", f"{NQN} 1") in pending(polluxd)
    (one,) = subsystem(polluxd.client)["namespaces"]
    assert one["nsid"] == 1 and "uuid" not in one
    assert nvmf_calls(polluxd.client).count("nvmf_subsystem_add_ns") == 1
    (tmp_path / "away").rename(path)
    assert wait_until(lambda: subsystem(polluxd.client)["namespaces"] == before)
    assert wait_until(lambda: not pending(polluxd))


def test_a_listener_whose_port_is_taken_at_start_waits_for_it(polluxd, target):
    host, port = listen(target)
    polluxd.stop()
    with socket.create_server((host, port)):
        polluxd.start()
        (waiting,) = pending(polluxd).values()
        assert waiting["kind"] == "nvmf_listener" and "in use" in waiting["reason"]
        assert subsystem(polluxd.client)["listen_addresses"] == [listen_address(host, port)]
        assert nvmf_calls(polluxd.client).count("nvmf_subsystem_add_listener") == 1
    assert wait_until(lambda: not pending(polluxd))
    with Controller((host, port), NQN):
        pass


def test_a_pending_listener_can_be_removed(polluxd, target):
    host, port = listen(target)
    polluxd.stop()
    with socket.create_server((host, port)):
        polluxd.start()
        assert pending(polluxd)
        assert polluxd.client.nvmf_subsystem_remove_listener(NQN, listen_address(host, port)) is True
        assert not pending(polluxd)
        assert subsystem(polluxd.client)["listen_addresses"] == []
    polluxd.restart()
    assert subsystem(polluxd.client)["listen_addresses"] == []


# Thousands.


def test_4096_namespaces_are_made_and_listed_in_time(polluxd):
    client, numbers = polluxd.client, range(4096)
    client.nvmf_create_subsystem(NQN, max_namespaces=4096)
    for make in (
        lambda n: ("bdev_null_create", {"name": f"Null{n}", "num_blocks": 2048, "block_size": BLOCK}),
        lambda n: ("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": f"Null{n}"}}),
    ):
        began = time.monotonic()
        made = client.call_many(make(number) for number in numbers)
        print(f"made in {time.monotonic() - began:.2f} s")
    assert made == [number + 1 for number in numbers]
    began = time.monotonic()
    (one,) = client.nvmf_get_subsystems(NQN)
    print(f"listed in {1000 * (time.monotonic() - began):.0f} ms")
    assert len(one["namespaces"]) == 4096
    began = time.monotonic()
    assert client.nvmf_delete_subsystem(NQN) is True
    print(f"deleted in {time.monotonic() - began:.2f} s")
    client.call_many(("bdev_null_delete", {"name": f"Null{number}"}) for number in numbers)
