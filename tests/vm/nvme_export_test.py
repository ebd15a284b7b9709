"""The whole way: an SSD behind vfio-pci, polluxd with the NVMe driver, iSCSI, and the kernel's initiator
on the other side, in one emulated machine."""

import os
import pathlib
import shutil

import pytest

import guest as vm
import initiator

BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or pathlib.Path(__file__).parents[2] / "build").resolve()
TARGET, PORT = "iqn.2024-01.io.pollux:ssd", 3260
DATA_MIB = 8


class Appliance:
    """polluxd in the guest, with an SSD that it exports."""

    def __init__(self, machine):
        self.guest = machine
        for program in ("polluxd", "pollux"):
            machine.run(f"cp /host{BUILD}/bin/{program} /tmp/{program}")
        machine.run("modprobe -a nvme vfio-pci; until_true 30 'test -n \"$(nvme_address VM0)\"'")
        self.address = machine.run("nvme_address VM0").strip()
        self.call(f"pci bind {self.address}")
        self.start()

    def start(self):
        self.guest.run(
            """
            in_host_root /tmp/polluxd -r /tmp/rpc.sock --state-dir /tmp/state >>/tmp/polluxd.log 2>&1 &
            until_true 60 'in_host_root /tmp/pollux -s /tmp/rpc.sock spdk_get_version'
            """
        )

    def call(self, words):
        return self.guest.run(f"in_host_root /tmp/pollux -s /tmp/rpc.sock {words}")

    def export(self, disk):
        self.call(f'iscsi_create_portal_group 1 \'[{{"host": "127.0.0.1", "port": "{PORT}"}}]\'')
        self.call("iscsi_create_initiator_group 1 '[\"ANY\"]' '[\"127.0.0.1/32\"]'")
        self.call(
            f"iscsi_create_target_node {TARGET} ssd '[{{\"bdev_name\": \"{disk}\", \"lun_id\": 0}}]' "
            "'[{\"pg_tag\": 1, \"ig_tag\": 1}]' 64 --disable-chap true"
        )


@pytest.fixture(scope="module")
def appliance():
    if not (vm.CACHE / "stamp").exists() or not shutil.which("qemu-system-x86_64"):
        pytest.skip(f"no guest in {vm.CACHE}: tests/run --vm builds it")
    machine = vm.Guest(2048, iommu=True, hugepages=192, host_root=True, nvme=[vm.Nvme("64M")])
    machine.boot()
    yield Appliance(machine)
    machine.stop()


def test_an_ssd_is_served_to_the_kernels_initiator_and_survives_resets(appliance):
    guest = appliance.guest
    assert "Ssdn1" in appliance.call(f"bdev_nvme_attach_controller Ssd PCIe {appliance.address}")
    appliance.export("Ssdn1")
    linux = initiator.Initiator(guest, PORT, TARGET, host="127.0.0.1")
    assert linux.discover() == [TARGET]
    disk = linux.login()
    initiator.make_file_system(guest, disk)
    initiator.write(guest, DATA_MIB)

    stream = initiator.Stream(guest, disk, DATA_MIB, writes_per_second=20)
    stream.await_writes(20)
    for _ in range(3):
        appliance.call("bdev_nvme_reset_controller Ssd")
    assert stream.running(), "the resets were to happen in the middle of it"
    stream.finish()
    initiator.verify(guest, DATA_MIB)

    # Again after a restart: the controller is attached by the saved configuration.
    guest.run("pkill -x polluxd; until_true 30 '! pgrep -x polluxd'")
    appliance.start()
    initiator.verify(guest, DATA_MIB)
    initiator.unmount_and_check(guest, disk)
    linux.logout()


def test_the_kernels_driver_finds_what_was_written_over_iscsi(appliance):
    guest = appliance.guest
    appliance.call(f"iscsi_delete_target_node {TARGET}")
    appliance.call("bdev_nvme_detach_controller Ssd")
    appliance.call(f"pci restore {appliance.address}")
    guest.run("until_true 30 'test -n \"$(nvme_address VM0)\"'")
    disk = f"/dev/$(basename /sys/bus/pci/devices/{appliance.address}/nvme/nvme*/nvme*n1)"
    guest.run(f"set -e; fsck.ext4 -fn {disk}; mount {disk} /mnt")
    initiator.verify(guest, DATA_MIB)
    guest.run("umount /mnt")
