"""open-iscsi in a guest: the kernel's initiator with its daemon and iscsiadm, against one target."""

import re

from guest import HOST

# fio checks every block that it reads against the checksum inside it.
FIO = (
    "fio --directory=/mnt --ioengine=libaio --iodepth=8 --direct=1 --bs=16k --verify=crc32c "
    "--verify_fatal=1 --output-format=terse"
)


class Initiator:
    def __init__(self, guest, port, target, host=HOST):
        self._guest = guest
        self._portal = f"{host}:{port}"
        self._target = target
        self._node = f"iscsiadm -m node -T {target} -p {self._portal}"
        guest.run("modprobe -a iscsi_tcp sd_mod; pgrep -x iscsid || iscsid")

    def discover(self):
        """What SendTargets answers: the names of the targets."""
        found = self._guest.run(f"iscsiadm -m discovery -t sendtargets -p {self._portal}")
        # The portals are the host's own 127.0.0.1, which is the guest itself in here.
        self._guest.run("iscsiadm -m node -o delete")
        return [line.split()[1] for line in found.splitlines()]

    def login(self, digests=False):
        """Logs in and returns the disk: /dev/sd*."""
        update = f"{self._node} -o update"
        return self._guest.run(
            f"""
            set -e
            iscsiadm -m node -o new -T {self._target} -p {self._portal} >/dev/null
            for part in {"Header Data" if digests else ""}; do
              {update} -n "node.conn[0].iscsi.${{part}}Digest" -v CRC32C
            done
            {self._node} --login >/dev/null
            until_true 60 'test -b "$(iscsi_disk {self._target})"'
            iscsi_disk {self._target}
            """
        ).strip()

    def logout(self):
        self._guest.run(f"{self._node} --logout && {self._node} -o delete")

    def digests(self):
        """What the kernel's connection has agreed: of headers, of data."""
        return self._guest.run("cat /sys/class/iscsi_connection/*/*_digest | tr '\\n' ' '").split()

    def sessions(self):
        return self._guest.run("iscsiadm -m session || :")


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
