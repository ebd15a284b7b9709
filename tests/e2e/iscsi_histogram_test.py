"""The histogram of how long a target node's commands take."""

import pytest

import pollux
from exports import export, memory_disk, saved
from histograms import decode
from iscsi_peer import GOOD, Peer

MS = 1_000_000


@pytest.fixture
def client(polluxd):
    return polluxd.client


def counted(client, peer):
    """How many commands were counted; all that `peer` has seen the end of are."""
    peer.nop(b"what is behind the last response was done before this one's")
    return sum(count for _, count in decode(client.iscsi_get_histogram("disk")))


def log_in(target):
    peer = Peer(target.portal)
    assert peer.login(target.iqn) == 0
    peer.ready()
    return peer


def test_commands_are_counted_from_now_on(client):
    target = export(client, memory_disk(client))
    with log_in(target) as early:
        early.nop()
        assert client.iscsi_enable_histogram("disk", True) is True
        assert counted(client, early) == 0
        early.write(0, bytes(65536))
        assert early.read(0, 8) == bytes(4096)
        assert early.run(b"\xc1" + bytes(5))[0] != GOOD
        with log_in(target) as late:
            before = counted(client, late)
            for _ in range(100):
                late.read(0, 1)
            assert counted(client, late) == before + 100
        assert before >= 3, "one of each, and unit attentions"
        assert client.iscsi_enable_histogram("disk", True) is True
        assert counted(client, early) == 0, "it begins anew"
        assert client.iscsi_enable_histogram("disk", False) is True
        assert early.read(0, 1) == bytes(512)
    with pytest.raises(pollux.RpcError) as caught:
        client.iscsi_get_histogram("disk")
    assert caught.value.code == -32602


def test_they_take_as_long_as_the_disk(client):
    client.bdev_null_create("Base", 2048, 512)
    target = export(client, client.bdev_delay_create("Disk", "Base", *[20_000] * 4))
    with log_in(target) as peer:
        peer.nop()
        client.iscsi_enable_histogram("disk", True)
        for _ in range(5):
            peer.read(0, 1)
        assert counted(client, peer) == 5
        buckets = decode(client.iscsi_get_histogram("disk"))
    assert all(first > 19 * MS for first, _ in buckets)


def test_it_is_kept(polluxd, client):
    target = export(client, memory_disk(client))
    client.iscsi_enable_histogram("disk", True)
    configuration = saved(client)
    polluxd.kill()
    polluxd.start()
    assert saved(polluxd.client) == configuration
    with log_in(target) as peer:
        peer.read(0, 1)
        assert counted(polluxd.client, peer) > 0
    polluxd.client.iscsi_delete_target_node(target.iqn)
    assert "iscsi_enable_histogram" not in str(saved(polluxd.client))


def test_it_is_switched_while_commands_run(client):
    target = export(client, memory_disk(client))
    peers = [log_in(target) for _ in range(4)]
    for turn in range(50):
        for peer in peers:
            peer.send(peer.command_pdu(b"\x28" + bytes(7) + b"\x08\x00", 4096, flags=0xC0))
        client.iscsi_enable_histogram("disk", turn % 2 == 0)
        for peer in peers:
            status, data, _ = peer.finish(peer.tag, 4096)
            assert (status, data) == (GOOD, bytes(4096))
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("method", ["iscsi_enable_histogram", "iscsi_get_histogram"])
def test_of_nobody_there_is_none(client, method):
    params = {"name": "nobody"} | ({"enable": True} if "enable" in method else {})
    with pytest.raises(pollux.RpcError) as caught:
        client.call(method, params)
    assert caught.value.code == -32602
    assert caught.value.field == "name"
