"""open-iscsi in a guest: the kernel's initiator with its daemon and iscsiadm, against one target."""

import dataclasses
import re

from guest import HOST

# fio checks every block that it reads against the checksum inside it.
FIO = (
    "fio --directory=/mnt --ioengine=libaio --iodepth=8 --direct=1 --bs=16k --verify=crc32c "
    "--verify_fatal=1 --output-format=terse"
)


@dataclasses.dataclass(frozen=True)
class Chap:
    """Who we are, and with `muser` who the target must be. `algorithm`: the only one that is offered."""

    user: str
    secret: str
    muser: str = ""
    msecret: str = ""
    algorithm: str = ""

    def settings(self, prefix):
        """(name, value) of iscsiadm's records, which begin with `prefix`."""
        pairs = [("authmethod", "CHAP"), ("username", self.user), ("password", self.secret)]
        pairs += [("username_in", self.muser), ("password_in", self.msecret)] if self.muser else []
        if self.algorithm and not prefix.startswith("discovery"):  # Where iscsiadm lets none be chosen.
            pairs.append(("chap_algs", self.algorithm))
        return [(f"{prefix}.auth.{name}", value) for name, value in pairs]


class Initiator:
    def __init__(self, guest, port, target, host=HOST):
        self.port = port
        self._guest = guest
        self._portal = f"{host}:{port}"
        self._target = target
        self._node = f"iscsiadm -m node -T {target} -p {self._portal}"
        guest.run("modprobe -a iscsi_tcp sd_mod; pgrep -x iscsid || iscsid")

    def discover(self, chap=None):
        """What SendTargets answers: the names of the targets."""
        found = self._guest.run(
            f"""
            set -e
            record="iscsiadm -m discoverydb -t sendtargets -p {self._portal}"
            $record -o new >/dev/null
            trap "$record -o delete >/dev/null || :" EXIT
            {_updates("$record", chap.settings("discovery.sendtargets") if chap else [])}
            $record --discover
            # The portals are the host's own 127.0.0.1, which is the guest itself in here.
            iscsiadm -m node -o delete >/dev/null
            """
        )
        return [line.split()[1] for line in found.splitlines()]

    def login(self, digests=False, chap=None):
        """Logs in and returns the disk: /dev/sd*."""
        settings = [(f"node.conn[0].iscsi.{part}Digest", "CRC32C") for part in ("Header", "Data") if digests]
        settings += chap.settings("node.session") if chap else []
        return self._guest.run(
            f"""
            set -e
            iscsiadm -m node -o new -T {self._target} -p {self._portal} >/dev/null
            {_updates(self._node, settings)}
            {self._node} --login >/dev/null
            until_true 60 'test -b "$(iscsi_disk {self._target})"'
            iscsi_disk {self._target}
            """
        ).strip()

    def forget(self):
        """After a login that failed."""
        self._guest.run(f"{self._node} -o delete")

    def logout(self):
        self._guest.run(f"{self._node} --logout && {self._node} -o delete")

    def digests(self):
        """What the kernel's connection has agreed: of headers, of data."""
        return self._guest.run("cat /sys/class/iscsi_connection/*/*_digest | tr '\\n' ' '").split()

    def await_state(self, state):
        """Waits until the kernel has its only session in a state: LOGGED_IN, FAILED."""
        self._guest.run(f"until_true 100 'grep -qx {state} /sys/class/iscsi_session/session*/state'")

    def sessions(self):
        return self._guest.run("iscsiadm -m session || :")


def _updates(record, settings):
    return "\n".join(f"{record} -o update -n '{name}' -v '{value}'" for name, value in settings)


def make_file_system(guest, disk, kind="ext4"):
    command = {"ext4": "mke2fs -q -F -t ext4", "xfs": "mkfs.xfs -q -f"}[kind]
    guest.run(f"set -e; {command} {disk}; mount {disk} /mnt", timeout=300)


def unmount_and_check(guest, disk, kind="ext4"):
    """The file system has no errors, by its own tool."""
    command = {"ext4": "fsck.ext4 -fn", "xfs": "xfs_repair -n"}[kind]
    guest.run(f"set -e; umount /mnt; {command} {disk}", timeout=300)


def write(guest, mib):
    guest.run(f"{FIO} --name=data --size={mib}M --rw=randwrite --do_verify=0", timeout=300)


def verify(guest, mib):
    """Everything that write() wrote is there, read from the target and not from a cache."""
    guest.run("echo 3 >/proc/sys/vm/drop_caches")
    guest.run(f"{FIO} --name=data --size={mib}M --rw=randwrite --verify_only", timeout=300)


def load(guest):
    """Writes and verifies in the background, again and again, until end_load()."""
    job = f"{FIO} --name=load --size=2M --rw=randwrite --do_verify=1"
    guest.run(
        f"rm -f /tmp/load.*; (until test -e /tmp/load.end; do {job} >/tmp/load.out 2>&1 || break; done; "
        "echo $? >/tmp/load.code) &"
    )


def end_load(guest):
    guest.run(
        "touch /tmp/load.end; until_true 240 'test -e /tmp/load.code'; "
        "cat /tmp/load.out; exit $(cat /tmp/load.code)",
        300,
    )


def await_writes(guest, disk, count):
    """Waits until the disk has completed so many writes more."""
    name = disk.removeprefix("/dev/")
    # A namespace with several paths counts on each of them: nvme0c1n1 is one of nvme0n1.
    paths = re.sub(r"^(nvme\d+)(n\d+)$", r"\1c*\2", name)
    guest.run(
        f"""
        stats() {{ ls /sys/block/{paths}/stat 2>/dev/null || echo /sys/block/{name}/stat; }}
        written() {{ cat $(stats) | awk '{{ sum += $5 }} END {{ print sum }}'; }}
        goal=$(($(written) + {count}))
        until_true 60 '[ $(written) -ge '$goal' ]'
        """
    )


class Stream:
    """Writes at a steady rate in the background, then verifies all of it."""

    def __init__(self, guest, disk, mib, writes_per_second):
        self._guest = guest
        self._disk = disk
        job = f"{FIO} --name=stream --size={mib}M --rw=randwrite --do_verify=1"
        guest.run(
            f"rm -f /tmp/code; ({job} --rate_iops={writes_per_second},{writes_per_second} "
            ">/tmp/stream 2>&1; echo $? >/tmp/code) &"
        )

    def await_writes(self, count):
        await_writes(self._guest, self._disk, count)

    def running(self):
        return self._guest.run("test -e /tmp/code || echo yes").strip() == "yes"

    def finish(self):
        self._guest.run("until_true 240 'test -e /tmp/code'; cat /tmp/stream; exit $(cat /tmp/code)", 300)
