"""sg3-utils on disks of ours in Linux: commands that no file system sends. One boot for all of it."""

import re

import pytest

import guest as vm
import initiator
from pollux.pytest_plugin import free_port

BLOCK_BYTES = 512
DISK_MIB = 16
TARGET = "iqn.2024-01.io.pollux:sg3"


class Units:
    """Two LUNs of one target, as the guest has them; the second is removable."""

    def __init__(self, guest, client, disks, linux):
        self.client, self.disks = client, disks
        self._guest, self._linux = guest, linux
        linux.login()
        guest.run("modprobe sg")
        self.first, self.second = self._node(0), self._node(1)

    def _node(self, lun):
        """The generic device: whoever opens the block device prevents the removal of its medium."""
        find = f"ls -d /sys/class/scsi_generic/sg*/device/../*:{lun}/scsi_generic/* 2>/dev/null | sort -u"
        self._guest.run(f"until_true 60 'test -n \"$({find})\"'")
        return "/dev/" + self._guest.run(find).strip().rsplit("/", 1)[-1]

    def run(self, command, code=0):
        """Runs one tool, which must end with the code; returns what it says."""
        said = self._guest.run(f"({command}) 2>&1; echo \"code $?\"")
        text, _, ended = said.strip().rpartition("code ")
        assert int(ended) == code, f"{command}: {ended}\n{text}"
        return text

    def block_device(self, node):
        return "/dev/" + self._guest.run(f"ls /sys/class/scsi_generic/{node[5:]}/device/block").strip()

    def content(self, node, skip=0, count=DISK_MIB * 2**20 // BLOCK_BYTES):
        """A digest of blocks, read from the target itself."""
        disk = self.block_device(node)
        read = f"dd if={disk} bs={BLOCK_BYTES} skip={skip} count={count} iflag=direct,fullblock status=none"
        return self._guest.run(f"{read} | sha256sum")

    def fill(self, node, source):
        disk = self.block_device(node)
        self._guest.run(f"dd if={source} of={disk} bs=1M count={DISK_MIB} oflag=direct status=none")

    def logout(self):
        self._linux.logout()


@pytest.fixture
def units(polluxd, guest):
    client, port = polluxd.client, free_port()
    disks = [client.bdev_malloc_create(DISK_MIB * 2**20 // BLOCK_BYTES, BLOCK_BYTES) for _ in range(2)]
    client.iscsi_create_portal_group(1, [{"host": "127.0.0.1", "port": str(port)}])
    client.iscsi_create_initiator_group(1, ["ANY"], ["127.0.0.1/32"])
    client.iscsi_create_target_node(
        TARGET,
        "of sg3-utils",
        [{"bdev_name": disks[0], "lun_id": 0}, {"bdev_name": disks[1], "lun_id": 1, "removable": True}],
        [{"pg_tag": 1, "ig_tag": 1}],
        64,
        disable_chap=True,
    )
    both = Units(guest, client, disks, initiator.Initiator(guest, port, TARGET))
    yield both
    both.logout()


def test_a_unit_says_what_it_is(units):
    inquiry = units.run(f"sg_inq {units.second}")
    assert "[SPC-4]" in inquiry and "RMB=1" in inquiry and "3PC=1" in inquiry
    pages = units.run(f"sg_vpd -a {units.first}")
    for page in (
        "Unit serial number VPD page",
        "Device Identification VPD page",
        "extended INQUIRY data VPD page",
        "Mode page policy VPD page",
        "Third party copy VPD page",
        "Block limits VPD page (SBC)",
        "Block device characteristics VPD page (SBC)",
        "Logical block provisioning VPD page (SBC)",
    ):
        assert page in pages, pages
    opcodes = units.run(f"sg_opcodes {units.first}")
    for name in ("Sanitize, overwrite", "Extended copy(LID1)", "Receive copy status(LID1)", "Compare and write"):
        assert name in opcodes, opcodes
    assert "Lun list length = 16" in units.run(f"sg_luns {units.first}")
    assert f"Number of logical blocks={DISK_MIB * 2048}" in units.run(f"sg_readcap -l {units.first}")
    status = units.run(f"sg_get_lba_status --lba=7 {units.first}")
    assert re.search(r"LBA: 0x0+7 +blocks: +32761 +mapped", status), status
    assert "No Sense" in units.run(f"sg_requests {units.first}")
    units.run(f"sg_senddiag -t {units.first}")
    # What is not there is refused as such.
    units.run(f"sg_rmsn {units.first}", code=9)


def test_blocks_are_copied_by_the_target(units):
    units.fill(units.first, "/dev/urandom")
    units.fill(units.second, "/dev/zero")
    parameters = units.run(f"sg_copy_results -p {units.first}")
    assert "Maximum target descriptor count: 8" in parameters
    units.run(f"sg_xcopy if={units.first} of={units.second} bs=512 count=9000 skip=100 seek=200 bpt=700")
    assert units.content(units.second, 200, 9000) == units.content(units.first, 100, 9000)
    zeroes = units.content(units.second, 9200, 200)
    assert units.content(units.second, 0, 200) == zeroes != units.content(units.first, 0, 200)


def test_reservations(units):
    unit = units.first
    assert "Persist Through Power Loss Capable(PTPL_C): 1" in units.run(f"sg_persist -c {unit}")
    units.run(f"sg_persist --out --register --param-sark=0xabc {unit}")
    units.run(f"sg_persist --out --reserve --prout-type=5 --param-rk=0xabc {unit}")
    held = units.run(f"sg_persist -s {unit}")
    assert "Key=0xabc" in held and "Write Exclusive, registrants only" in held
    assert re.search(r"unique port id: iqn\.\S+,i,0x", held), held
    units.run(f"sg_persist --out --reserve --prout-type=5 --param-rk=0xbad {unit}", code=24)
    units.run(f"sg_persist --out --clear --param-rk=0xabc {unit}")
    assert "there are NO registered reservation keys" in units.run(f"sg_persist -k {unit}")


def test_blocks_are_written_compared_and_given_back(units):
    unit = units.first
    units.fill(unit, "/dev/urandom")
    units.run(f"sg_write_same --in=/dev/zero --16 --lba=0 --num=64 {unit}")
    zeroes = units.content(unit, 0, 64)
    units.run("head -c 512 /dev/zero >/tmp/pair; head -c 512 /dev/urandom >>/tmp/pair")
    units.run(f"sg_compare_and_write --in=/tmp/pair --lba=5 --num=1 {unit}")
    assert "Miscompare at byte offset: 0" in units.run(
        f"sg_compare_and_write --in=/tmp/pair --lba=5 --num=1 {unit}", code=14
    )
    assert units.content(unit, 0, 64) != zeroes
    units.run(f"sg_verify --lba=5 --count=1 --ebytchk=1 --in=<(tail -c 512 /tmp/pair) --ndo=512 {unit}")
    units.run(f"sg_verify --lba=6 --count=1 --ebytchk=1 --in=<(tail -c 512 /tmp/pair) --ndo=512 {unit}", code=14)
    units.run(f"sg_unmap --force --lba=0 --num=64 {unit}")
    assert units.content(unit, 0, 64) == zeroes
    units.run(f"sg_sync {unit}")


def test_a_medium_goes_and_comes(units):
    units.run(f"sg_start --eject {units.first}", code=5)  # Not removable.
    unit = units.second
    units.run(f"sg_prevent --prevent=1 {unit}")
    units.run(f"sg_start --eject {unit}", code=5)
    units.run(f"sg_prevent --allow {unit}")
    units.run(f"sg_start --eject {unit}")
    units.run(f"sg_turs {unit}", code=2)
    assert "Medium not present" in units.run(f"sg_requests {unit}")
    units.run(f"sg_start --load {unit}")
    units.run(f"sg_turs {unit}")


def test_the_control_page_protects_from_writes(units):
    unit = units.first
    units.run(f"sg_wr_mode --page=0xa --contents=0a,0a,02,10,08,40,00,00,ff,ff,00,00 {unit}")
    assert "WP=1" in units.run(f"sg_modes -p 0xa {unit}")
    units.run(f"sg_write_same --in=/dev/zero --lba=0 --num=1 {unit}", code=7)
    units.run(f"sg_wr_mode --page=0xa --contents=0a,0a,02,10,00,40,00,00,ff,ff,00,00 {unit}")
    units.run(f"sg_write_same --in=/dev/zero --lba=0 --num=1 {unit}")


def test_a_unit_is_sanitized(units):
    units.fill(units.first, "/dev/urandom")
    units.client.bdev_set_qos_limit(units.disks[0], rw_mbytes_per_sec=4)
    units.run(f"sg_sanitize --overwrite --zero --quick --early {units.first}")
    units.run(f"sg_turs {units.first}", code=2)
    progress = units.run(f"sg_requests -p {units.first}")
    assert "Progress indication" in progress, progress
    units.run(f"until_true 60 'sg_turs {units.first}'")
    units.client.bdev_set_qos_limit(units.disks[0], rw_mbytes_per_sec=0)
    units.fill(units.second, "/dev/zero")
    assert units.content(units.first) == units.content(units.second)


def test_the_kernel_follows_the_states_of_its_paths(guest, polluxd):
    client, ports = polluxd.client, {1: free_port(), 2: free_port()}
    disk = client.bdev_malloc_create(DISK_MIB * 2**20 // BLOCK_BYTES, BLOCK_BYTES)
    for tag, port in ports.items():
        client.iscsi_create_portal_group(tag, [{"host": "127.0.0.1", "port": str(port)}])
    client.iscsi_create_initiator_group(1, ["ANY"], ["127.0.0.1/32"])
    maps = [{"pg_tag": tag, "ig_tag": 1} for tag in ports]
    client.iscsi_create_target_node(
        TARGET, "of ALUA", [{"bdev_name": disk, "lun_id": 0}], maps, 64, disable_chap=True
    )
    client.pollux_iscsi_target_node_set_access_state(TARGET, 2, "non_optimized", preferred=True)
    guest.run("modprobe -a scsi_dh_alua sg")
    initiator.Initiator(guest, ports[1], TARGET)  # Starts its daemon.
    for port in ports.values():
        node = f"iscsiadm -m node -T {TARGET} -p {vm.HOST}:{port}"
        guest.run(f"{node} -o new >/dev/null && {node} --login >/dev/null")
    guest.run("until_true 60 'test $(ls -d /sys/block/sd* | wc -l) = 2'")
    by_group = {}
    for name in guest.run("ls /sys/block | grep ^sd").split():
        group = re.search(r"Target port group: 0x(\d)", guest.run(f"sg_vpd -p di /dev/{name}"))
        by_group[int(group[1])] = name
    assert sorted(by_group) == [1, 2]

    def state(group):
        return guest.run(f"cat /sys/block/{by_group[group]}/device/access_state").strip()

    assert (state(1), state(2)) == ("active/optimized", "active/non-optimized")
    report = guest.run(f"sg_rtpg -d /dev/{by_group[1]}")
    assert re.search(r"target port group id : 0x2 , Pref=1.*active/non optimized", report, re.S), report
    client.pollux_iscsi_target_node_set_access_state(TARGET, 2, "standby")
    # The unit attention of the next command lets the kernel ask.
    guest.run(f"sg_turs /dev/{by_group[2]} || :; dd if=/dev/{by_group[2]} of=/dev/null count=1 iflag=direct || :")
    guest.run(f"until_true 60 'grep -qx standby /sys/block/{by_group[2]}/device/access_state'")
    assert state(1) == "active/optimized"
    with pytest.raises(vm.CommandFailed):
        guest.run(f"dd if=/dev/{by_group[2]} of=/dev/null count=1 iflag=direct", timeout=300)
    guest.run(f"dd if=/dev/{by_group[1]} of=/dev/null count=1 iflag=direct")
    guest.run(f"iscsiadm -m node -T {TARGET} --logout && iscsiadm -m node -o delete")
