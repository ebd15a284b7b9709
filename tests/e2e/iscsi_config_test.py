"""The iSCSI target's configuration: portal groups, initiator groups, target nodes."""

import socket

import pytest

import pollux
from exports import NODE_BASE, admit, export, listen, make_node, memory_disk, saved
from iscsi_peer import Closed, Peer
from pollux.pytest_plugin import free_port


@pytest.fixture
def client(polluxd):
    return polluxd.client


@pytest.fixture
def target(client):
    """A node "disk" with a memory disk "Mem" as LUN 0, by portal group 1 and initiator group 1."""
    return export(client, memory_disk(client, name="Mem"))


def refused(call, *args, field, value=None, **kwargs):
    with pytest.raises(pollux.InvalidParams) as caught:
        call(*args, **kwargs)
    assert caught.value.field == field, caught.value
    assert value is None or caught.value.value == str(value)
    assert caught.value.reason
    return caught.value


def refused_and_unchanged(client, call, *args, **kwargs):
    before = saved(client)
    error = refused(call, *args, **kwargs)
    assert saved(client) == before
    return error


def connects(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 5).close()
        return True
    except ConnectionRefusedError:
        return False


# Portal groups.


def test_a_portal_group_listens_until_it_is_deleted(client):
    port = listen(client, 7, private=True)
    portals = [{"host": "127.0.0.1", "port": str(port)}]
    assert client.iscsi_get_portal_groups() == [{"tag": 7, "portals": portals, "private": True}]
    assert connects(port)
    assert client.iscsi_delete_portal_group(7) is True
    assert not connects(port)
    assert client.iscsi_get_portal_groups() == []


def test_a_portal_group_made_with_wait_listens_when_started(client):
    port = listen(client, 1, wait=True)
    assert not connects(port)
    assert client.iscsi_start_portal_group(1) is True
    assert connects(port)
    refused(client.iscsi_start_portal_group, 2, field="tag", value=2)


def test_a_group_of_several_portals_listens_at_all_or_none(client):
    ports = [free_port(), free_port("::1")]
    hosts = ["127.0.0.1", "[::1]"]
    portals = [{"host": host, "port": str(port)} for host, port in zip(hosts, ports)]
    client.iscsi_create_portal_group(1, portals)
    assert connects(ports[0]) and connects(ports[1], "::1")

    other = free_port()
    taken = {"host": "127.0.0.1", "port": str(ports[0])}
    error = refused_and_unchanged(
        client,
        client.iscsi_create_portal_group,
        2,
        [{"host": "127.0.0.1", "port": str(other)}, taken],
        field="portals[1]",
    )
    assert error.errno == 17 and error.value == f"127.0.0.1:{ports[0]}"
    assert not connects(other)
    assert [one["tag"] for one in client.iscsi_get_portal_groups()] == [1]


def test_a_port_that_another_process_has_is_refused(client):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused_and_unchanged(client, listen, client, 1, port=port, field="portals[0]")
        assert error.errno == 98
    listen(client, 1, port=port)


@pytest.mark.parametrize(
    "tag, host, port, field",
    [
        (0, "127.0.0.1", "3260", "tag"),
        (-1, "127.0.0.1", "3260", "tag"),
        (65536, "127.0.0.1", "3260", "tag"),
        (1, "localhost", "3260", "portals[0].host"),
        (1, "", "3260", "portals[0].host"),
        (1, "300.0.0.1", "3260", "portals[0].host"),
        (1, "127.0.0.1", "", "portals[0].port"),
        (1, "127.0.0.1", "65536", "portals[0].port"),
        (1, "127.0.0.1", "-1", "portals[0].port"),
        (1, "127.0.0.1", "http", "portals[0].port"),
        (1, "192.0.2.1", "3260", "portals[0]"),
    ],
)
def test_an_unacceptable_portal_group_is_refused(client, tag, host, port, field):
    error = refused_and_unchanged(
        client, client.iscsi_create_portal_group, tag, [{"host": host, "port": port}], field=field
    )
    assert error.value != "" or "" in (host, port)


def test_a_tag_is_taken_once(client):
    listen(client, 1)
    error = refused_and_unchanged(client, listen, client, 1, field="tag", value=1)
    assert error.errno == 17
    admit(client, 1)
    assert refused_and_unchanged(client, admit, client, 1, field="tag", value=1).errno == 17


def test_deleting_a_portal_group_removes_its_maps(client):
    memory_disk(client, name="Mem")
    first, second = listen(client, 1), listen(client, 2)
    admit(client, 1)
    name = make_node(client, "disk", "Mem", maps=[(1, 1), (2, 1)])
    with Peer(f"127.0.0.1:{first}") as peer, Peer(f"127.0.0.1:{second}") as other:
        assert peer.login(name) == 0 and other.login(name) == 0
        client.iscsi_delete_portal_group(1)
        (node,) = client.iscsi_get_target_nodes()
        assert node["pg_ig_maps"] == [{"pg_tag": 2, "ig_tag": 1}]
        # Its connections are closed, those of the other portal group are not.
        with pytest.raises(Closed):
            while True:
                peer.receive()
        assert other.ready() == 0
    refused(client.iscsi_delete_portal_group, 1, field="tag", value=1)


# Initiator groups.


def test_an_initiator_group_changes(client):
    admit(client, 5, ["iqn.2026-01.test:a"], ["10.0.0.0/8"])
    client.iscsi_initiator_group_add_initiators(5, initiators=["!iqn.2026-01.test:b"], netmasks=["ANY"])
    assert client.iscsi_get_initiator_groups() == [
        {"tag": 5, "initiators": ["iqn.2026-01.test:a", "!iqn.2026-01.test:b"], "netmasks": ["10.0.0.0/8", "ANY"]}
    ]
    client.iscsi_initiator_group_remove_initiators(5, initiators=["iqn.2026-01.test:a"], netmasks=["10.0.0.0/8"])
    assert client.iscsi_get_initiator_groups() == [
        {"tag": 5, "initiators": ["!iqn.2026-01.test:b"], "netmasks": ["ANY"]}
    ]
    assert client.iscsi_delete_initiator_group(5) is True
    assert client.iscsi_get_initiator_groups() == []
    for call in (client.iscsi_delete_initiator_group, client.iscsi_initiator_group_add_initiators):
        refused(call, 5, field="tag", value=5)


def test_names_and_netmasks_are_there_once_and_gone_once(client):
    admit(client, 1, ["iqn.2026-01.test:a"], ["ANY"])
    refused_and_unchanged(
        client,
        client.iscsi_initiator_group_add_initiators,
        1,
        initiators=["iqn.2026-01.test:b", "iqn.2026-01.test:a"],
        field="initiators[1]",
    )
    refused_and_unchanged(
        client,
        client.iscsi_initiator_group_remove_initiators,
        1,
        initiators=["iqn.2026-01.test:a"],
        netmasks=["10.0.0.0/8"],
        field="netmasks[0]",
    )


@pytest.mark.parametrize(
    "tag, initiators, netmasks, field",
    [
        (0, ["ANY"], ["ANY"], "tag"),
        (1, [""], ["ANY"], "initiators[0]"),
        (1, ["ANY", "x" * 300], ["ANY"], "initiators[1]"),
        (1, ["ANY"], ["10.0.0.0/33"], "netmasks[0]"),
        (1, ["ANY"], ["ANY", "10.0.0"], "netmasks[1]"),
        (1, ["ANY"], ["fd00::/129"], "netmasks[0]"),
        (1, ["ANY"], ["any"], "netmasks[0]"),
        (1, ["ANY"] * 257, ["ANY"], "initiators"),
    ],
)
def test_an_unacceptable_initiator_group_is_refused(client, tag, initiators, netmasks, field):
    refused_and_unchanged(
        client, client.iscsi_create_initiator_group, tag, initiators, netmasks, field=field
    )


def login_status(target, **login):
    with Peer(target.portal) as peer:
        return peer.login(target.iqn, **login)


AUTHORIZATION_FAILURE = 0x0202
NOT_FOUND = 0x0203


@pytest.mark.parametrize(
    "initiators, netmasks, admitted",
    [
        (["ANY"], ["ANY"], True),
        (["iqn.2026-01.test:peer"], ["127.0.0.1"], True),
        (["iqn.2026-01.test:peer"], ["127.0.0.0/8"], True),
        (["iqn.2026-01.test:other"], ["ANY"], False),
        (["!iqn.2026-01.test:peer", "ANY"], ["ANY"], False),
        (["!iqn.2026-01.test:other", "ANY"], ["ANY"], True),
        (["ANY"], ["10.0.0.0/8"], False),
        (["ANY"], ["127.0.0.2"], False),
        (["ANY"], ["[::1]"], False),
    ],
)
def test_the_group_decides_who_may_log_in(client, initiators, netmasks, admitted):
    memory_disk(client, name="Mem")
    port = listen(client)
    admit(client, 1, initiators, netmasks)
    name = make_node(client, "disk", "Mem")
    with Peer(f"127.0.0.1:{port}") as peer:
        status = peer.login(name)
        assert status == 0 if admitted else status in (AUTHORIZATION_FAILURE, NOT_FOUND)
    with Peer(f"127.0.0.1:{port}") as peer:
        assert peer.login() == 0
        answer = peer.text(b"SendTargets=All\0")
        assert (name.encode() in answer.data) == admitted


def test_a_change_of_the_group_holds_from_the_next_login(client, target):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        client.iscsi_initiator_group_add_initiators(1, initiators=["!iqn.2026-01.test:peer"])
        assert peer.ready() == 0
        # "!" keeps out, wherever it stands in the list, or the first that matches decides.
        other_status = login_status(target, name="iqn.2026-01.test:other")
        assert other_status == 0
    client.iscsi_initiator_group_remove_initiators(1, initiators=["ANY"])
    assert login_status(target) != 0


# Target nodes.


def test_a_target_node_is_shown_as_it_was_made(client, target):
    assert client.iscsi_get_target_nodes() == [
        {
            "name": f"{NODE_BASE}:disk",
            "alias_name": "disk of a test",
            "pg_ig_maps": [{"pg_tag": 1, "ig_tag": 1}],
            "luns": [{"bdev_name": "Mem", "lun_id": 0}],
            "queue_depth": 64,
            "disable_chap": True,
            "require_chap": False,
            "mutual_chap": False,
            "chap_group": 0,
            "header_digest": False,
            "data_digest": False,
        }
    ]
    assert client.scsi_get_devices() == [{"id": 0, "device_name": target.iqn}]


def test_luns_are_added_at_the_lowest_free_number(client, target):
    for name in "ABC":
        memory_disk(client, name=name)
    client.iscsi_target_node_add_lun("disk", "A", lun_id=2)
    client.iscsi_target_node_add_lun(target.iqn, "B")
    client.iscsi_target_node_add_lun("disk", "C")
    luns = {one["bdev_name"]: one["lun_id"] for one in client.iscsi_get_target_nodes()[0]["luns"]}
    assert luns == {"Mem": 0, "A": 2, "B": 1, "C": 3}
    refused_and_unchanged(client, client.iscsi_target_node_add_lun, "disk", "A", lun_id=2, field="lun_id", value=2)
    refused_and_unchanged(client, client.iscsi_target_node_add_lun, "disk", "No", field="bdev_name", value="No")
    refused_and_unchanged(client, client.iscsi_target_node_add_lun, "no", "A", field="name")
    refused_and_unchanged(client, client.iscsi_target_node_add_lun, "disk", "A", lun_id=256, field="lun_id")


def test_maps_are_added_and_removed_together_or_not_at_all(client, target):
    listen(client, 2)
    admit(client, 2)
    one, two = {"pg_tag": 1, "ig_tag": 2}, {"pg_tag": 2, "ig_tag": 2}
    first = {"pg_tag": 1, "ig_tag": 1}
    client.iscsi_target_node_add_pg_ig_maps("disk", [one, two])
    assert client.iscsi_get_target_nodes()[0]["pg_ig_maps"] == [first, one, two]
    nowhere = {"pg_tag": 9, "ig_tag": 1}
    refused_and_unchanged(
        client,
        client.iscsi_target_node_add_pg_ig_maps,
        "disk",
        [{"pg_tag": 2, "ig_tag": 1}, nowhere],
        field="pg_ig_maps[1].pg_tag",
        value=9,
    )
    refused_and_unchanged(
        client, client.iscsi_target_node_add_pg_ig_maps, "disk", [one], field="pg_ig_maps[0]"
    )
    refused_and_unchanged(
        client, client.iscsi_target_node_remove_pg_ig_maps, "disk", [one, nowhere], field="pg_ig_maps[1]"
    )
    client.iscsi_target_node_remove_pg_ig_maps("disk", [first, two])
    assert client.iscsi_get_target_nodes()[0]["pg_ig_maps"] == [one]
    assert login_status(target) == 0
    client.iscsi_delete_initiator_group(2)
    assert client.iscsi_get_target_nodes()[0]["pg_ig_maps"] == []
    assert login_status(target) != 0


def test_a_deleted_node_closes_its_sessions_and_frees_its_disks(client, target):
    with Peer(target.portal) as peer:
        assert peer.login(target.iqn) == 0
        assert client.iscsi_delete_target_node("disk") is True
        with pytest.raises(Closed):
            while True:
                peer.receive()
    assert login_status(target) == NOT_FOUND
    with pytest.raises(pollux.NotFound):
        client.iscsi_delete_target_node("disk")
    assert not client.bdev_get_bdevs("Mem")[0]["claimed"]
    client.bdev_malloc_delete("Mem")


GOOD = {
    "name": "new",
    "alias_name": "",
    "luns": [{"bdev_name": "Mem", "lun_id": 0}],
    "pg_ig_maps": [{"pg_tag": 1, "ig_tag": 1}],
    "queue_depth": 1,
    "disable_chap": True,
}


@pytest.mark.parametrize(
    "change, field",
    [
        ({"name": ""}, "name"),
        ({"name": "disk"}, "name"),
        ({"name": f"{NODE_BASE}:disk"}, "name"),
        ({"name": "x" * 224}, "name"),
        ({"name": "with space"}, "name"),
        ({"luns": []}, "luns"),
        ({"luns": [{"bdev_name": "Mem", "lun_id": 0}, {"bdev_name": "No", "lun_id": 1}]}, "luns[1].bdev_name"),
        ({"luns": [{"bdev_name": "Mem", "lun_id": 0}, {"bdev_name": "Mem", "lun_id": 0}]}, "luns[1].lun_id"),
        ({"luns": [{"bdev_name": "Mem", "lun_id": -1}]}, "luns[0].lun_id"),
        ({"luns": [{"bdev_name": "Mem", "lun_id": 256}]}, "luns[0].lun_id"),
        ({"luns": [{"bdev_name": "Mem", "lun_id": i} for i in range(65)]}, "luns"),
        ({"pg_ig_maps": [{"pg_tag": 2, "ig_tag": 1}]}, "pg_ig_maps[0].pg_tag"),
        ({"pg_ig_maps": [{"pg_tag": 1, "ig_tag": 2}]}, "pg_ig_maps[0].ig_tag"),
        ({"pg_ig_maps": [{"pg_tag": 1, "ig_tag": 1}] * 2}, "pg_ig_maps[1]"),
        ({"queue_depth": -1}, "queue_depth"),
        ({"queue_depth": 65}, "queue_depth"),
        ({"require_chap": True}, None),
    ],
    ids=str,
)
def test_an_unacceptable_node_is_refused(client, target, change, field):
    before = saved(client)
    with pytest.raises(pollux.InvalidParams) as caught:
        client.call("iscsi_create_target_node", GOOD | change)
    assert field is None or caught.value.field == field, caught.value
    assert caught.value.reason
    assert saved(client) == before
    assert [one["name"] for one in client.iscsi_get_target_nodes()] == [target.iqn]
    # And the acceptable one is accepted.
    assert client.call("iscsi_create_target_node", GOOD) is True


# Connections.


def test_connections_are_shown_and_counted(client, target):
    with Peer(target.portal) as peer, Peer(target.portal) as silent:
        assert peer.login(target.iqn) == 0
        by_phase = {one["login_phase"]: one for one in client.iscsi_get_connections()}
        assert set(by_phase) == {"full_feature_phase", "not_started"}
        one = by_phase["full_feature_phase"]
        assert set(one) == {
            "id", "cid", "tsih", "state", "login_phase", "initiator_addr", "target_addr",
            "target_node_name", "thread_name",
        }  # fmt: skip
        assert (one["tsih"], one["state"]) == (peer.tsih, "running")
        assert one["target_node_name"] == "disk"
        assert one["initiator_addr"].startswith("127.0.0.1") and one["target_addr"].startswith("127.0.0.1")
        assert one["thread_name"] in {one["name"] for one in client.thread_get_stats()["threads"]}
        assert by_phase["not_started"]["tsih"] == 65535
        stats = client.iscsi_get_stats()
        assert set(stats) == {"invalid", "running", "exiting", "exited"}
        assert stats["running"] >= 1
        assert silent.socket.fileno() >= 0
