"""The NVMe driver with real VFIO and QEMU's SSDs: data, metadata, protection, zones, errors, resets,
unplugging. What QEMU's controller cannot do is tested against tests/models."""

import json
import os
import pathlib
import shutil

import pytest

import guest as vm

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or pathlib.Path(__file__).parents[2] / "build").resolve()
PROGRAMS = ["pollux_nvme_probe", "pollux-identify", "pollux-perf", "hello_nvme", "pollux"]
MODULE = vm.CACHE / "vfio-noiommu.ko"

SSDS = [
    vm.Nvme("64M", "32M"),
    vm.Nvme("32M", namespace=",ms=8,pi=1"),
    vm.Nvme("32M", namespace=",ms=16,logical_block_size=4096,physical_block_size=4096"),
    vm.Nvme("64M", namespace=",zoned=on,zoned.zone_size=4M,zoned.max_open=4,zoned.max_active=8"),
    vm.Nvme("32M", controller=",cmb_size_mb=16"),
    vm.Nvme("32M", namespace=",ms=8,mset=1"),
    vm.Nvme("32M", faults={"read_aio": 16, "write_aio": 32}),
]
PLAIN, PROTECTED, METADATA, ZONED, CMB, EXTENDED, FAULTY = range(len(SSDS))


class Ssds:
    """The SSDs of a guest, each given to vfio-pci, and our programs there."""

    def __init__(self, machine, count):
        self.guest = machine
        for program in PROGRAMS:
            machine.run(f"cp /host{BUILD}/bin/{program} /tmp/{program}")
        machine.run("modprobe nvme")
        self.address = [
            machine.run(f"until_true 30 'test -n \"$(nvme_address VM{n})\"'; nvme_address VM{n}").strip()
            for n in range(count)
        ]

    def run(self, program, *words, timeout=300):
        return self.guest.run(f"in_host_root /tmp/{program} {' '.join(map(str, words))}", timeout)

    def probe(self, *words):
        """The lines that it prints; the last is "ok" or what is wrong."""
        output = self.guest.run(f"in_host_root /tmp/pollux_nvme_probe {' '.join(words)} || true", 300)
        return [line.strip() for line in output.splitlines()]

    def start(self, command, address, until):
        """Runs the probe in the background; returns when it printed `until`."""
        self.guest.run(
            f"""
            in_host_root /tmp/pollux_nvme_probe {command} {address} >/tmp/{command} 2>&1 &
            until_true 60 'grep {until} /tmp/{command}'
            """
        )

    def end(self, command):
        """What the one in the background printed until its end."""
        self.guest.run(f"until_true 60 '! pgrep -f \"^/tmp/pollux_nvme_probe {command}\"'")
        return [line.strip() for line in self.guest.run(f"cat /tmp/{command}").splitlines()]


def boot(**options):
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    machine = vm.Guest(2048, hugepages=128, host_root=True, **options)
    machine.boot()
    return machine


@pytest.fixture(scope="module")
def ssds():
    machine = boot(iommu=True, nvme=SSDS, spare_drives=["32M"])
    found = Ssds(machine, len(SSDS))
    machine.run(f"bind_vfio {' '.join(found.address)}")
    yield found
    machine.stop()


def test_hello_in_c(ssds):
    said = ssds.run("hello_nvme", ssds.address[PLAIN])
    assert "QEMU NVMe Ctrl, serial number VM0" in said
    assert 'Hello, NVMe' in said


def test_identify_tells_what_it_is(ssds):
    told = json.loads(ssds.run("pollux-identify", ssds.address[PLAIN], "--json"))
    assert "VM0" in json.dumps(told)
    text = ssds.run("pollux-identify", ssds.address[ZONED])
    assert "QEMU NVMe Ctrl" in text and "VM3" in text


@pytest.mark.parametrize("nsid", [1, 2])
def test_what_is_written_is_read_back(ssds, nsid):
    told = ssds.run("pollux-perf", "-w verify -q 16 -o 16k --range 0:8192 --json", "-n", nsid, ssds.address[PLAIN])
    assert json.loads(told)


def test_every_kind_of_list(ssds):
    assert ssds.probe("data", ssds.address[PLAIN])[-1] == "ok"


def test_protection_information_is_made_and_checked_by_the_controller(ssds):
    assert ssds.probe("protection", ssds.address[PROTECTED])[-1] == "ok"


def test_metadata_of_its_own_comes_back(ssds):
    assert ssds.probe("metadata", ssds.address[METADATA])[-1] == "ok"


def test_metadata_among_the_data_comes_back(ssds):
    assert ssds.probe("metadata", ssds.address[EXTENDED])[-1] == "ok"


def test_zones_are_appended_to_finished_and_reset(ssds):
    lines = ssds.probe("zones", ssds.address[ZONED])
    # Zone states of ZNS figure 38: 2h implicitly opened, Eh full, 1h empty.
    assert lines == ["zones 16", "open 2", "finished 14", "reset 1", "ok"]


def test_submission_queues_in_the_controller_memory_buffer(ssds):
    told = ssds.run("pollux-perf", "-w verify -q 16 -o 4k --range 0:2048 --cmb --json", ssds.address[CMB])
    assert json.loads(told)


def test_a_critical_warning_is_heard(ssds):
    ssds.start("events", ssds.address[CMB], "waiting")
    ssds.guest.monitor("qom-set /machine/peripheral/nvme4 smart_critical_warning 4")
    lines = ssds.end("events")
    assert lines[1].startswith("warning 04:") and lines[-1] == "ok"


def test_failed_reads_and_writes_have_their_status(ssds):
    # QEMU's blkdebug: reads of sector 16, writes of sector 32.
    lines = ssds.probe("errors", ssds.address[FAULTY])
    assert lines[-1] == "ok"
    told = dict(line.split(": ") for line in lines[:-1])
    assert told.pop("block 16") == "read 281 write 000"  # Unrecovered Read Error.
    assert told.pop("block 32") == "read 000 write 280"  # Write Fault.
    assert set(told.values()) == {"read 000 write 000"}


def test_resets_under_reads(ssds):
    assert ssds.probe("reset", ssds.address[PLAIN]) == ["aborted some", "ok"]


def test_an_ssd_unplugged_under_reads_ends_each_of_them_and_may_come_again(ssds):
    address = ssds.address[EXTENDED]
    ssds.start("hold", address, "holding")
    ssds.guest.monitor("device_del nvme5")
    lines = ssds.end("hold")
    assert lines[-2].startswith("gone:") and "the kernel wants it back" in lines[-2]
    assert lines[-1] == "ok"  # Each read ended once.
    ssds.guest.run(f"until_true 60 '! test -e /sys/bus/pci/devices/{address}'")

    ssds.guest.monitor("device_add nvme,id=nvme9,serial=AGAIN,bus=port5,drive=spare0")
    ssds.guest.run(f"until_true 60 'test -e /sys/bus/pci/devices/{address}'; bind_vfio {address}")
    assert ssds.probe("data", address)[-1] == "ok"


def test_the_kernels_driver_can_use_it_afterwards(ssds):
    address = ssds.address[PLAIN]
    ssds.guest.run(f"unbind_vfio {address}; until_true 30 'test -n \"$(nvme_address VM0)\"'")
    ssds.guest.run(
        f"""
        set -e
        disk=/dev/$(basename /sys/bus/pci/devices/{address}/nvme/nvme*/nvme*n1)
        mkfs.ext4 -q $disk
        fsck.ext4 -fn $disk
        """
    )


def test_without_an_iommu(ssds):
    del ssds  # One guest at a time.
    if not MODULE.exists():
        pytest.skip(f"no {MODULE}: tests/vm/build-noiommu makes it")
    machine = boot(nvme=[vm.Nvme("64M")])
    try:
        found = Ssds(machine, 1)
        machine.run(f"load_noiommu {MODULE}; bind_vfio {found.address[0]}")
        assert found.probe("--no-iommu", "data", found.address[0])[-1] == "ok"
        told = found.run("pollux-perf", "--no-iommu -w verify -q 16 -o 64k --range 0:8192 --json", found.address[0])
        assert json.loads(told)
    finally:
        machine.stop()
