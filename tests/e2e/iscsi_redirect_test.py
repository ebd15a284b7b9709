"""Initiators that are sent to another portal, and asked to log out."""

import struct
import subprocess

import pytest

import pollux
from exports import MIB, admit, listen, make_node, memory_disk, saved, wait_until
from iscsi_peer import ASYNC, Closed, Peer

MOVED = 0x0101
LOGOUT_REQUESTED = 1


class House:
    """A target behind two portal groups: 1 is public, 2 is private."""

    def __init__(self, client):
        self.client = client
        self.front, self.back = listen(client, 1), listen(client, 2, private=True)
        admit(client)
        self.iqn = make_node(client, "disk", memory_disk(client, MIB), maps=[(1, 1), (2, 1)])

    def redirect(self, tag=1, host="127.0.0.1", port=None):
        return self.client.iscsi_target_node_set_redirect(
            self.iqn, tag, redirect_host=host, redirect_port=str(port or self.back)
        )

    def connections(self):
        return self.client.iscsi_get_connections()


@pytest.fixture
def house(polluxd):
    return House(polluxd.client)


def log_in(port, iqn, **more):
    peer = Peer(f"127.0.0.1:{port}", **more)
    assert peer.login(iqn) == 0
    peer.ready()
    return peer


def test_a_login_is_sent_on(house):
    with log_in(house.front, house.iqn) as old:
        assert house.redirect() is True
        with Peer(f"127.0.0.1:{house.front}") as peer:
            assert peer.login(house.iqn) == MOVED
            assert peer.keys["TargetAddress"] == f"127.0.0.1:{house.back}", "without a tag, section 13.8"
            with pytest.raises(Closed):
                peer.receive()
        with log_in(house.back, house.iqn) as new:
            assert new.read(0, 1) == bytes(512)
        assert old.read(0, 1) == bytes(512), "who is there stays"
        # Discovery is not sent anywhere.
        with Peer(f"127.0.0.1:{house.front}") as asking:
            assert asking.login() == 0
            assert house.iqn.encode() in asking.text(b"SendTargets=All\0").data
    assert house.client.iscsi_target_node_set_redirect("disk", 1) is True
    log_in(house.front, house.iqn).logout()


def test_an_ipv6_address_is_written_with_brackets(house):
    house.redirect(host="::1", port=4444)
    with Peer(f"127.0.0.1:{house.front}") as peer:
        assert peer.login(house.iqn) == MOVED
        assert peer.keys["TargetAddress"] == "[::1]:4444"


def test_an_initiator_of_other_people_follows(house):
    house.redirect()
    url = f"iscsi://127.0.0.1:{house.front}/{house.iqn}/0"
    found = subprocess.run(["iscsi-inq", url], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert "Peripheral Device Type:DIRECT_ACCESS" in found.stdout


def test_who_may_not_come_is_not_sent_on(house):
    house.client.iscsi_initiator_group_add_initiators(1, initiators=["!iqn.2026-01.test:peer"])
    house.client.iscsi_initiator_group_remove_initiators(1, initiators=["ANY"])
    house.redirect()
    with Peer(f"127.0.0.1:{house.front}") as peer:
        assert peer.login(house.iqn) == 0x0202
        assert "TargetAddress" not in peer.keys


def test_a_redirect_is_kept(polluxd, house):
    house.redirect()
    house.redirect(port=house.back + 1)
    (node,) = before = polluxd.client.iscsi_get_target_nodes()
    assert node["redirects"] == [
        {"pg_tag": 1, "redirect_host": "127.0.0.1", "redirect_port": str(house.back + 1)}
    ]
    configuration = saved(polluxd.client)
    polluxd.kill()
    polluxd.start()
    assert polluxd.client.iscsi_get_target_nodes() == before
    assert saved(polluxd.client) == configuration
    with Peer(f"127.0.0.1:{house.front}") as peer:
        assert peer.login(house.iqn) == MOVED
    # It goes with the last map of the portal group.
    polluxd.client.iscsi_target_node_remove_pg_ig_maps(house.iqn, [{"pg_tag": 1, "ig_tag": 1}])
    polluxd.client.iscsi_target_node_add_pg_ig_maps(house.iqn, [{"pg_tag": 1, "ig_tag": 1}])
    (node,) = polluxd.client.iscsi_get_target_nodes()
    assert "redirects" not in node
    log_in(house.front, house.iqn).logout()


@pytest.mark.parametrize(
    ("field", "params"),
    [
        ("name", {"name": "nobody"}),
        ("pg_tag", {"pg_tag": 3}),
        ("pg_tag", {"pg_tag": 2, "redirect_port": "3333"}),
        ("redirect_host", {"redirect_host": "example.com"}),
        ("redirect_host", {"redirect_host": "0.0.0.0"}),
        ("redirect_host", {"redirect_host": "*"}),
        ("redirect_host", {"redirect_host": None}),
        ("redirect_host", {"redirect_port": "FRONT"}),
        ("redirect_port", {"redirect_port": "0"}),
        ("redirect_port", {"redirect_port": "65536"}),
        ("redirect_port", {"redirect_port": "-1"}),
        ("redirect_port", {"redirect_port": "http"}),
        ("redirect_port", {"redirect_port": None}),
    ],
)
def test_a_redirect_that_cannot_be_is_refused(house, field, params):
    said = {"name": "disk", "pg_tag": 1, "redirect_host": "127.0.0.1", "redirect_port": str(house.back)}
    said = {key: value for key, value in (said | params).items() if value is not None}
    if said.get("redirect_port") == "FRONT":
        said["redirect_port"] = str(house.front)
    with pytest.raises(pollux.RpcError) as caught:
        house.client.call("iscsi_target_node_set_redirect", said)
    assert caught.value.code == -32602
    assert caught.value.field == field
    log_in(house.front, house.iqn).logout()


# Logout.


def test_initiators_are_asked_to_log_out(house):
    with log_in(house.front, house.iqn) as front, log_in(house.back, house.iqn) as back:
        assert house.client.iscsi_target_node_request_logout("disk", pg_tag=1) is True
        event = front.receive()
        assert event.opcode == ASYNC and event.bhs[36] == LOGOUT_REQUESTED
        assert struct.unpack_from(">H", event.bhs, 42) == (30,), "seconds"
        assert front.read(0, 1) == bytes(512), "it may finish what it does"
        front.logout()
        assert back.nop(b"nothing was asked").data == b"nothing was asked"
        assert wait_until(lambda: len(house.connections()) == 1)
        house.client.iscsi_target_node_request_logout("disk")
        assert back.receive().opcode == ASYNC


def test_who_is_asked_often_is_asked_still(house):
    with log_in(house.front, house.iqn) as peer:
        for _ in range(20):
            house.client.iscsi_target_node_request_logout("disk")
        assert peer.receive().opcode == ASYNC
        peer.close()
        assert wait_until(lambda: not house.connections())


@pytest.mark.parametrize("params", [{"name": "nobody"}, {"pg_tag": 3}, {"pg_tag": 0}])
def test_a_logout_of_nobody_is_refused(house, params):
    with pytest.raises(pollux.RpcError) as caught:
        house.client.call("iscsi_target_node_request_logout", {"name": "disk"} | params)
    assert caught.value.code == -32602
    assert caught.value.field == next(iter(params))


def test_a_session_moves_to_where_it_is_sent(house):
    """What an operator does who empties a portal."""
    with log_in(house.front, house.iqn) as peer:
        house.redirect()
        house.client.iscsi_target_node_request_logout("disk", pg_tag=1)
        assert peer.receive().opcode == ASYNC
        peer.logout()
    with Peer(f"127.0.0.1:{house.front}") as again:
        assert again.login(house.iqn) == MOVED
        host, _, port = again.keys["TargetAddress"].rpartition(":")
    with Peer(f"{host}:{port}") as moved:
        assert moved.login(house.iqn) == 0
        (connection,) = house.connections()
        assert connection["target_node_name"] == "disk"
