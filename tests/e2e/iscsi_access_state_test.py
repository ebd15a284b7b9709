"""ALUA: the states of portal groups, by RPC, as a SCSI initiator sees them."""

import pytest

from exports import MIB, memory_disk
from iscsi_peer import Peer
from pollux import RpcError
from pollux.pytest_plugin import free_port

NAME = "iqn.2016-06.io.spdk:disk"


@pytest.fixture
def two_groups(polluxd):
    """{tag: port} of two portal groups of one target."""
    client, ports = polluxd.client, {1: free_port(), 2: free_port()}
    for tag, port in ports.items():
        client.iscsi_create_portal_group(tag, [{"host": "127.0.0.1", "port": str(port)}])
    client.iscsi_create_initiator_group(1, ["ANY"], ["127.0.0.1/32"])
    maps = [{"pg_tag": tag, "ig_tag": 1} for tag in ports]
    client.iscsi_create_target_node(
        "disk", "a", [{"bdev_name": memory_disk(client, MIB)}], maps, 64, disable_chap=True
    )
    return ports


def accesses(client):
    (node,) = client.iscsi_get_target_nodes()
    return node.get("accesses")


def test_states_are_shown_and_kept(polluxd, two_groups):
    client = polluxd.client
    assert accesses(client) is None
    client.pollux_iscsi_target_node_set_access_state(NAME, 2, "standby")
    client.pollux_iscsi_target_node_set_access_state("disk", 1, "optimized", preferred=True)
    expected = [
        {"pg_tag": 2, "access_state": "standby", "preferred": False},
        {"pg_tag": 1, "access_state": "optimized", "preferred": True},
    ]
    assert accesses(client) == expected
    polluxd.restart()
    client = polluxd.client
    assert accesses(client) == expected
    client.pollux_iscsi_target_node_set_access_state(NAME, 1, "optimized")
    assert accesses(client) == expected[:1]
    # What was said of a portal group goes with its map.
    client.iscsi_target_node_remove_pg_ig_maps(NAME, [{"pg_tag": 2, "ig_tag": 1}])
    assert accesses(client) is None


def test_what_is_wrong_is_said(polluxd, two_groups):
    client = polluxd.client
    for arguments, text in (
        ((NAME, 3, "standby"), "no map of the target has this portal group"),
        (("iqn.2026-01.test:none", 1, "standby"), "none"),
        ((NAME, 1, "transitioning"), "access_state"),
    ):
        with pytest.raises(RpcError) as refused:
            client.pollux_iscsi_target_node_set_access_state(*arguments)
        assert text in str(refused.value)
    assert accesses(client) is None


READ_10 = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])
REPORT_TARGET_PORT_GROUPS = bytes([0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])


def sense(answer):
    """Key, ASC and ASCQ, after the two bytes of its length."""
    return answer.data[4] & 0x0F, answer.data[14], answer.data[15]


def test_initiators_are_told_and_refused(polluxd, two_groups):
    client = polluxd.client
    with Peer(f"127.0.0.1:{two_groups[1]}") as first, Peer(f"127.0.0.1:{two_groups[2]}") as second:
        for peer in (first, second):
            peer.login(NAME)
            assert peer.ready() == 0
        second.write(0, bytes(range(256)) * 2)
        client.pollux_iscsi_target_node_set_access_state(NAME, 2, "standby")
        status, _, answer = second.run(bytes(6))
        assert (status, sense(answer)) == (2, (0x6, 0x2A, 0x06))
        status, _, answer = second.run(READ_10, 512)
        assert (status, sense(answer)) == (2, (0x2, 0x04, 0x0B))
        status, groups, _ = second.run(REPORT_TARGET_PORT_GROUPS, 28)
        assert status == 0
        assert groups == bytes([0, 0, 0, 24, 0, 0x0F, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0x0F, 0, 2, 0, 2, 0, 1, 0, 0, 0, 2])

        assert first.ready() == 0
        assert first.read(0, 1) == bytes(range(256)) * 2
        client.pollux_iscsi_target_node_set_access_state(NAME, 2, "non_optimized")
        assert second.ready() == 0
        assert second.read(0, 1) == bytes(range(256)) * 2
