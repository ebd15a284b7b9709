"""drivers/pci with a real kernel: VFIO behind an emulated IOMMU and without one, in an emulated machine."""

import os
import pathlib
import shutil

import pytest

import guest as vm

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or pathlib.Path(__file__).parents[2] / "build").resolve()
PROBE = BUILD / "bin" / "pollux_pci_probe"
MODULE = vm.CACHE / "vfio-noiommu.ko"


class Ssds:
    """Two SSDs of a guest, and the program that drives them."""

    def __init__(self, machine):
        self.guest = machine
        machine.run(f"cp /host{PROBE} /tmp/probe; modprobe nvme")
        machine.run("until_true 30 'test -n \"$(nvme_address VM0)\" -a -n \"$(nvme_address VM1)\"'")
        self.first, self.second = (machine.run(f"nvme_address VM{n}").strip() for n in (0, 1))

    def probe(self, command, *addresses):
        """The lines that the program prints; the last is "ok" or what is wrong."""
        output = self.guest.run(f"in_host_root /tmp/probe {command} {' '.join(addresses)} || true")
        return [line.strip() for line in output.splitlines()]

    def start(self, command, address, until):
        """Runs it in the background; returns when it printed `until`."""
        self.guest.run(
            f"""
            in_host_root /tmp/probe {command} {address} >/tmp/{command} 2>&1 &
            until_true 60 'grep {until} /tmp/{command}'
            """
        )

    def end(self, command):
        """What the one in the background printed until its end."""
        self.guest.run(f"until_true 60 '! pgrep -f \"^/tmp/probe {command}\"'")
        return [line.strip() for line in self.guest.run(f"cat /tmp/{command}").splitlines()]


def boot(**options):
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    machine = vm.Guest(
        hugepages=16,
        host_root=True,
        nvme=[vm.Nvme("32M"), vm.Nvme("32M")],
        spare_drives=["32M"],
        **options,
    )
    machine.boot()
    return machine


@pytest.fixture(scope="module")
def guest():
    machine = boot(iommu=True)
    machine.run("modprobe vfio-pci")
    yield machine
    machine.stop()


@pytest.fixture
def ssds(guest):
    found = Ssds(guest)
    yield found
    guest.run("in_host_root umount /tmp/mounted 2>/dev/null || true")
    found.probe("restore", found.first, found.second)


def value(lines, name):
    return [line.removeprefix(name).strip() for line in lines if line.startswith(name)]


def test_two_ssds_share_one_container(ssds):
    assert ssds.probe("bind", ssds.first, ssds.second) == ["ok"]
    lines = ssds.probe("identify", ssds.first, ssds.second)
    assert lines[-1] == "ok"
    assert value(lines, "interrupt; serial") == ["VM0", "VM1"]
    assert value(lines, "shared:") == ["0", "1"]
    assert value(lines, "again:") == [f"{ssds.first} is attached already", f"{ssds.second} is attached already"]


def test_a_mounted_ssd_is_not_taken(ssds):
    ssds.guest.run(
        f"""
        set -e
        disk=/dev/$(basename /sys/bus/pci/devices/{ssds.first}/nvme/nvme*/nvme*n1)
        mkfs.ext4 -q $disk
        mkdir -p /tmp/mounted
        in_host_root mount $disk /tmp/mounted
        """
    )
    (reason,) = ssds.probe("bind", ssds.first)
    assert reason.startswith(f"{ssds.first} is in use: /dev/nvme")
    assert reason.endswith("is mounted at /tmp/mounted")
    assert ssds.probe("reset", ssds.first) == [reason]
    ssds.guest.run("in_host_root umount /tmp/mounted")
    assert ssds.probe("bind", ssds.first) == ["ok"]


def test_too_little_memory_to_lock_is_explained(ssds):
    ssds.probe("bind", ssds.first)
    few = "in_host_root setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock /tmp/probe"
    output = ssds.guest.run(f"ulimit -l 64; {few} identify {ssds.first} || true")
    assert "The limit of locked memory is 64 KiB" in output


def test_an_ssd_of_the_kernel_is_not_driven(ssds):
    lines = ssds.probe("identify", ssds.second)
    assert lines[-1] == f"{ssds.second} has driver nvme, not vfio-pci: pollux pci bind {ssds.second}"


def test_an_ssd_in_use_stays_with_its_user(ssds):
    ssds.probe("bind", ssds.second)
    ssds.start("hold", ssds.second, "holding")
    (reason,) = ssds.probe("restore", ssds.second)
    assert "is open in process" in reason
    assert ssds.probe("identify", ssds.second)[-1].startswith(f"{ssds.second}: another process has")
    ssds.guest.run("kill $(pgrep -f '^/tmp/probe hold')")


def test_an_unplugged_ssd_is_given_back_and_may_come_again(ssds):
    ssds.probe("bind", ssds.first)
    ssds.start("hold", ssds.first, "holding")
    ssds.start("watch", ssds.first, "watching")
    ssds.guest.monitor("device_del nvme0")
    ssds.guest.run(f"until_true 60 '! test -e /sys/bus/pci/devices/{ssds.first}'")
    held = ssds.end("hold")
    assert held[-2:] == [f"removal: {ssds.first}: the kernel wants it back", "ok"]

    ssds.guest.monitor("device_add nvme,id=nvme9,serial=VM0,bus=port0,drive=spare0")
    watched = ssds.end("watch")
    assert "event 1 class 010802" in watched  # Removed.
    assert watched[-2:] == ["event 0 class 010802", "ok"]
    ssds.guest.run("until_true 30 'test -n \"$(nvme_address VM0)\"'")
    assert ssds.probe("bind", ssds.first) == ["ok"]
    assert ssds.probe("identify", ssds.first)[-1] == "ok"


def test_the_kernels_driver_can_have_it_back(ssds):
    ssds.probe("bind", ssds.second)
    assert ssds.probe("identify", ssds.second)[-1] == "ok"
    assert ssds.probe("restore", ssds.second) == ["ok"]
    ssds.guest.run("until_true 30 'test -n \"$(nvme_address VM1)\"'")
    ssds.guest.run(
        f"""
        set -e
        disk=/dev/$(basename /sys/bus/pci/devices/{ssds.second}/nvme/nvme*/nvme*n1)
        mkfs.ext4 -q $disk
        fsck.ext4 -fn $disk
        """
    )


def test_without_an_iommu_only_hugepages_are_given_and_only_when_asked():
    if not MODULE.exists():
        pytest.skip(f"no {MODULE}: tests/vm/build-noiommu makes it")
    machine = boot()
    try:
        ssds = Ssds(machine)
        machine.run(f"load_noiommu {MODULE}; modprobe vfio-pci")
        assert ssds.probe("bind", ssds.first) == ["ok"]
        assert "is taken only when asked for" in ssds.probe("identify", ssds.first)[-1]
        lines = ssds.probe("no-iommu", ssds.first)
        assert lines[-1] == "ok"
        assert value(lines, "interrupt; serial") == ["VM0"]
        assert "can be given hugepages only" in value(lines, "memory ordinary:")[0]
        few = "in_host_root setpriv --bounding-set -sys_admin --inh-caps -sys_admin /tmp/probe"
        assert "CAP_SYS_ADMIN" in machine.run(f"{few} no-iommu {ssds.first} || true")
    finally:
        machine.stop()
