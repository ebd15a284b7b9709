"""LUNs that are read only, or removable, by an option of theirs."""

import pytest

from exports import MIB, admit, listen, memory_disk
from pollux import RpcError

NAME = "iqn.2016-06.io.spdk:disk"


def luns(client):
    (node,) = client.iscsi_get_target_nodes()
    return node["luns"]


def create(client, **options):
    disk = memory_disk(client, MIB)
    listen(client)
    admit(client)
    client.iscsi_create_target_node(
        "disk", "a", [{"bdev_name": disk, **options}], [{"pg_tag": 1, "ig_tag": 1}], 64, disable_chap=True
    )
    return disk


def test_options_are_shown_and_kept(polluxd):
    client = polluxd.client
    first = create(client, read_only=True)
    second, third = memory_disk(client, MIB), memory_disk(client, MIB)
    client.iscsi_target_node_add_lun(NAME, second, removable=True)
    client.iscsi_target_node_add_lun(NAME, third, lun_id=5)
    expected = [
        {"bdev_name": first, "lun_id": 0, "read_only": True},
        {"bdev_name": second, "lun_id": 1, "removable": True},
        {"bdev_name": third, "lun_id": 5},
    ]
    assert luns(client) == expected
    polluxd.restart()
    assert luns(polluxd.client) == expected
    polluxd.kill()
    polluxd.start()
    assert luns(polluxd.client) == expected


def test_a_read_only_lun_leaves_the_disk_to_one_that_claims_it(polluxd):
    client = polluxd.client
    disk = create(client, read_only=True)
    (claimed,) = client.bdev_get_bdevs(name=disk)
    assert not claimed["claimed"]
    client.bdev_split_create(disk, 2)  # Claims it for its own writes.
    with pytest.raises(RpcError) as refused:
        client.iscsi_target_node_add_lun(NAME, disk)
    assert disk in str(refused.value)
    client.iscsi_target_node_add_lun(NAME, disk, read_only=True)
    assert [lun.get("read_only") for lun in luns(client)] == [True, True]
