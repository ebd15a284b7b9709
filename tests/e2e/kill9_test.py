"""Power failures: polluxd is killed at random moments during a stream of changes.

Changes of one connection are made in their order, so what is there after the restart must be what
some beginning of the stream makes: at least all that was answered, at most all that was sent.
"""

import copy
import json
import os
import random
import socket
import time

import pytest

from exports import NODE_BASE, shown

CALLS_PER_STREAM = 60
OBJECTS_WANTED = 12  # Of a kind.


class Model:
    """What a beginning of the stream should have made."""

    def __init__(self):
        self.disks = {}
        self.initiators = {}
        self.portals = set()
        self.nodes = {}

    def copy(self):
        return copy.deepcopy(self)

    def state(self):
        return (
            dict(self.disks),
            {tag: list(names) for tag, names in self.initiators.items()},
            set(self.portals),
            {name: (dict(luns), list(maps)) for name, (luns, maps) in self.nodes.items()},
        )

    def random_call(self, rng):
        """A change that must succeed. It is made in the model too."""
        choices = [self.make_disk, self.make_disk, self.make_initiators, self.make_portals]
        choices += [self.resize_disk, self.delete_disk] if self.disks else []
        choices += [self.add_initiator, self.delete_initiators] if self.initiators else []
        choices += [self.delete_portals] if self.portals else []
        choices += [self.make_node] * 2 if self.disks and self.initiators and self.portals else []
        choices += [self.add_lun, self.delete_node] if self.nodes and self.disks else []
        # Not without end.
        for things, delete in (
            (self.disks, self.delete_disk),
            (self.initiators, self.delete_initiators),
            (self.portals, self.delete_portals),
            (self.nodes, self.delete_node),
        ):
            choices += [delete] * 8 if len(things) > OBJECTS_WANTED else []
        return rng.choice(choices)(rng)

    def make_disk(self, rng):
        name = self.unused("N", self.disks, rng)
        self.disks[name] = 2048
        return "bdev_null_create", {"name": name, "num_blocks": 2048, "block_size": 512}

    def resize_disk(self, rng):
        # Larger: a disk in use does not shrink.
        name = rng.choice(sorted(self.disks))
        self.disks[name] += rng.randint(0, 9) * 2048
        return "bdev_null_resize", {"name": name, "new_size": self.disks[name] // 2048}

    def delete_disk(self, rng):
        # LUNs stay, as pending.
        name = rng.choice(sorted(self.disks))
        del self.disks[name]
        return "bdev_null_delete", {"name": name}

    def make_initiators(self, rng):
        tag = self.unused("", self.initiators, rng)
        self.initiators[tag] = ["ANY"]
        return "iscsi_create_initiator_group", {"tag": tag, "initiators": ["ANY"], "netmasks": ["ANY"]}

    def add_initiator(self, rng):
        tag = rng.choice(sorted(self.initiators))
        name = f"iqn.2026-01.test:{len(self.initiators[tag])}-{rng.getrandbits(32):x}"
        self.initiators[tag].append(name)
        return "iscsi_initiator_group_add_initiators", {"tag": tag, "initiators": [name]}

    def delete_initiators(self, rng):
        tag = rng.choice(sorted(self.initiators))
        del self.initiators[tag]
        self.forget_maps(1, tag)
        return "iscsi_delete_initiator_group", {"tag": tag}

    def make_portals(self, rng):
        tag = self.unused("", self.portals, rng)
        self.portals.add(tag)
        portals = [{"host": "127.0.0.1", "port": str(10000 + tag)}]
        return "iscsi_create_portal_group", {"tag": tag, "portals": portals, "wait": True}

    def delete_portals(self, rng):
        tag = rng.choice(sorted(self.portals))
        self.portals.remove(tag)
        self.forget_maps(0, tag)
        return "iscsi_delete_portal_group", {"tag": tag}

    def forget_maps(self, place, tag):
        for _, maps in self.nodes.values():
            maps[:] = [one for one in maps if one[place] != tag]

    def make_node(self, rng):
        short = self.unused("t", {name.rpartition(":")[2] for name in self.nodes}, rng)
        disk = rng.choice(sorted(self.disks))
        pg, ig = rng.choice(sorted(self.portals)), rng.choice(sorted(self.initiators))
        self.nodes[f"{NODE_BASE}:{short}"] = ({0: disk}, [(pg, ig)])
        return "iscsi_create_target_node", {
            "name": short,
            "alias_name": "",
            "luns": [{"bdev_name": disk, "lun_id": 0}],
            "pg_ig_maps": [{"pg_tag": pg, "ig_tag": ig}],
            "queue_depth": 8,
            "disable_chap": True,
        }

    def add_lun(self, rng):
        name, disk = rng.choice(sorted(self.nodes)), rng.choice(sorted(self.disks))
        luns = self.nodes[name][0]
        if len(luns) >= 32:
            return self.delete_node(rng)
        lun = next(number for number in range(64) if number not in luns)
        luns[lun] = disk
        return "iscsi_target_node_add_lun", {"name": name, "bdev_name": disk, "lun_id": lun}

    def delete_node(self, rng):
        name = rng.choice(sorted(self.nodes))
        del self.nodes[name]
        return "iscsi_delete_target_node", {"name": name}

    @staticmethod
    def unused(prefix, used, rng):
        while True:
            number = rng.randint(1, 999)
            name = f"{prefix}{number}" if prefix else number
            if name not in used:
                return name


def state_of(client):
    """What is there, in the model's words."""
    objects = shown(client)
    # A pending group is configured; what the get methods show is what is there.
    return (
        {one["name"]: one["num_blocks"] for one in objects["bdevs"]},
        {one["tag"]: one["initiators"] for one in objects["initiator groups"]},
        {one["tag"] for one in objects["portal groups"]},
        {
            one["name"]: (
                {lun["lun_id"]: lun["bdev_name"] for lun in one["luns"]},
                [(map["pg_tag"], map["ig_tag"]) for map in one["pg_ig_maps"]],
            )
            for one in objects["target nodes"]
        },
    )


def answers_until_the_end(connection, wanted, kill):
    """Reads answers; after `wanted` of them calls `kill`, and goes on to the end of the stream."""
    data = b""
    killed = wanted == 0
    if killed:
        kill()
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            piece = b""
        data += piece
        if not killed and (data.count(b"\n") >= wanted or not piece):
            killed = True
            kill()
        if not piece:
            return [json.loads(line) for line in data.split(b"\n")[:-1]]


def one_failure(polluxd, model, rng):
    """Sends a stream of changes, kills, restarts. Returns the model of what must have survived."""
    models, lines = [model], []
    for number in range(CALLS_PER_STREAM):
        following = models[-1].copy()
        method, params = following.random_call(rng)
        lines.append({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        models.append(following)

    def kill():
        until = time.perf_counter() + rng.random() * 0.004
        while time.perf_counter() < until:
            pass
        polluxd.kill()

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(polluxd.socket)
        connection.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        answers = answers_until_the_end(connection, rng.randint(0, CALLS_PER_STREAM), kill)
    for answer in answers:
        assert answer.get("result") is not None, (lines[answer["id"]], answer)
    # Commits are shared, so answers may overtake each other; the last one answered counts.
    acknowledged = 1 + max((answer["id"] for answer in answers), default=-1)

    if rng.random() < 0.25:  # It dies once more, while it starts.
        polluxd.start()
        time.sleep(rng.random() * 0.2)
        polluxd.kill()
    polluxd.start()
    found = state_of(polluxd.client)
    for survived in models[acknowledged:]:
        if survived.state() == found:
            return survived
    raise AssertionError(
        f"{acknowledged} of {CALLS_PER_STREAM} changes were answered; found {found}, "
        f"which none of {[one.state() for one in models[acknowledged:]]} is"
    )


def fail_many_times(polluxd, times):
    seed = int(os.environ.get("POLLUX_SEED", random.SystemRandom().getrandbits(32)))
    print(f"POLLUX_SEED={seed}")
    rng = random.Random(seed)
    model = Model()
    for _ in range(times):
        model = one_failure(polluxd, model, rng)


def test_every_answered_change_survives_40_kills(polluxd):
    fail_many_times(polluxd, 40)


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_every_answered_change_survives_200_kills(polluxd):
    fail_many_times(polluxd, 200)
