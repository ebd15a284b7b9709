"""NVMe disks, by the device model behind a vfio-user socket: what the driver, the block layer, the
control plane and the iSCSI target make of a controller that comes, works, fails and goes."""

import base64
import json
import os
import shutil
import struct
import subprocess
import time

import pytest

import exports
from nvme_peer import NvmeModel
from pollux import RpcError

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")

SECONDS = 30.0


@pytest.fixture
def start_model():
    models = []

    def start(*arguments, start=True):
        models.append(NvmeModel(*arguments))
        return models[-1].start() if start else models[-1]

    yield start
    for model in models:
        model.finish()


@pytest.fixture
def model(start_model):
    return start_model()


def attach(client, model, name="Nvme0", **more):
    return client.bdev_nvme_attach_controller(name, "VFIOUSER", model.address, **more)


def until(so, what):
    deadline = time.monotonic() + SECONDS
    while not so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def names(client):
    return [disk["name"] for disk in client.bdev_get_bdevs()]


def pending(client):
    return [one for one in client.pollux_get_status()["pending"] if one["kind"] == "nvme_controller"]


def qemu_img(*arguments, check=True, timeout=120):
    return subprocess.run(
        ["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=check, timeout=timeout
    )


def write_over_iscsi(image, target):
    qemu_img("convert", "-n", "-f", "raw", "-O", "raw", image, target.url())


def same_over_iscsi(image, target):
    return qemu_img("compare", "-f", "raw", "-F", "raw", image, target.url(), check=False).returncode == 0


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(os.urandom(64 << 20))
    return path


def test_a_controller_shows_itself_and_its_disks(polluxd, start_model):
    model = start_model("--namespace", "64", "--namespace", "32:4096")
    client = polluxd.client
    assert attach(client, model) == ["Nvme0n1", "Nvme0n2"]
    small, large = client.bdev_get_bdevs()
    assert (small["block_size"], small["num_blocks"]) == (512, 131072)
    assert (large["block_size"], large["num_blocks"]) == (4096, 8192)
    assert small["product_name"] == "NVMe disk"
    assert small["supported_io_types"]["compare_and_write"]
    described = small["driver_specific"]["nvme"][0]
    assert described["trid"] == {"trtype": "VFIOUSER", "traddr": model.address}
    assert described["ns_data"]["id"] == 1
    assert set(described["ctrlr_data"]["oacs"]) == {"security", "format", "firmware", "ns_manage"}
    [controller] = client.bdev_nvme_get_controllers()
    assert controller["name"] == "Nvme0"
    assert controller["ctrlrs"][0]["state"] == "enabled"
    assert controller["ctrlrs"][0]["trid"]["traddr"] == model.address
    assert client.framework_get_pci_devices() == []
    assert client.bdev_nvme_detach_controller("Nvme0") is True
    assert names(client) == []
    assert client.bdev_nvme_get_controllers() == []


def test_what_an_initiator_writes_it_reads(polluxd, model, image):
    attach(polluxd.client, model)
    target = exports.export(polluxd.client, "Nvme0n1")
    write_over_iscsi(image, target)
    assert same_over_iscsi(image, target)
    [group] = polluxd.client.bdev_nvme_get_transport_statistics()["poll_groups"]
    assert group["transports"][0]["trname"] == "VFIOUSER"
    assert group["transports"][0]["completions"] > 0


def test_a_reset_under_load_costs_no_io(polluxd, model, image):
    client = polluxd.client
    attach(client, model)
    target = exports.export(client, "Nvme0n1")
    with subprocess.Popen(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, target.url()]) as copy:
        for _ in range(5):
            assert client.bdev_nvme_reset_controller("Nvme0") is True
        assert copy.wait(SECONDS) == 0
    assert same_over_iscsi(image, target)


def test_a_killed_device_ends_every_command_and_is_attached_when_it_is_back(polluxd, model, image):
    client = polluxd.client
    attach(client, model)
    target = exports.export(client, "Nvme0n1")
    copy = subprocess.Popen(
        ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, target.url()],
        stderr=subprocess.DEVNULL,
    )
    until(lambda: client.bdev_get_iostat(names=["Nvme0n1"])["bdevs"][0]["num_write_ops"] > 0, "no I/O came")
    model.kill()
    assert copy.wait(SECONDS) != 0  # It was answered, with an error.
    until(lambda: pending(client) and names(client) == [], "the controller is still there")
    model.start()
    until(lambda: names(client) == ["Nvme0n1"] and not pending(client), "the controller did not come back")
    write_over_iscsi(image, target)
    assert same_over_iscsi(image, target)


def test_a_restart_attaches_again(polluxd, model):
    attach(polluxd.client, model)
    polluxd.restart()
    assert names(polluxd.client) == ["Nvme0n1"]
    polluxd.kill()
    polluxd.start()
    assert names(polluxd.client) == ["Nvme0n1"]


def test_a_device_that_is_missing_at_start_is_pending(polluxd, model):
    attach(polluxd.client, model)
    exports.export(polluxd.client, "Nvme0n1")
    polluxd.stop()
    model.kill()
    polluxd.start()
    client = polluxd.client
    assert names(client) == []
    [waiting] = pending(client)
    assert waiting["name"] == "Nvme0" and waiting["method"] == "bdev_nvme_attach_controller"
    saved = client.framework_get_config("bdev")
    assert "bdev_nvme_attach_controller" in [call["method"] for call in saved]
    model.start()
    until(lambda: names(client) == ["Nvme0n1"], "the controller did not come")
    until(lambda: client.pollux_get_status()["health"]["state"] == "ok", "not all came back")


def test_a_pending_controller_can_be_deleted(polluxd, model):
    attach(polluxd.client, model)
    polluxd.stop()
    model.kill()
    polluxd.start()
    assert polluxd.client.bdev_nvme_detach_controller("Nvme0") is True
    assert pending(polluxd.client) == []
    polluxd.restart()
    assert pending(polluxd.client) == []


def test_injected_errors_are_counted_and_end(polluxd, model, image):
    client = polluxd.client
    assert client.bdev_nvme_set_options(nvme_error_stat=True, bdev_retry_count=0) is True
    attach(client, model)
    target = exports.export(client, "Nvme0n1")
    write_over_iscsi(image, target)
    assert client.bdev_nvme_add_error_injection("Nvme0", "io", 2, sct=2, sc=0x81, err_count=1000) is True
    assert not same_over_iscsi(image, target)
    [counted] = client.bdev_get_iostat(names=["Nvme0n1"])["bdevs"]
    errors = counted["io_error"]["medium error"]
    assert errors > 0
    assert counted["driver_specific"]["nvme_error"] == {
        "status_type": {"media_error": errors},
        "status_code": {"unrecovered_read_error": errors},
    }
    assert client.bdev_nvme_remove_error_injection("Nvme0", "io", 2) is True
    assert same_over_iscsi(image, target)
    with pytest.raises(RpcError) as refused:
        client.bdev_nvme_set_options(bdev_retry_count=1)
    assert refused.value.code == -1


def test_a_disabled_controller_says_so_until_it_is_enabled(polluxd, model):
    client = polluxd.client
    attach(client, model)
    assert client.bdev_nvme_disable_controller("Nvme0") is True
    assert client.bdev_nvme_get_controllers("Nvme0")[0]["ctrlrs"][0]["state"] == "disabled"
    with pytest.raises(RpcError) as refused:
        client.bdev_nvme_disable_controller("Nvme0")
    assert refused.value.code == -114
    assert client.bdev_nvme_enable_controller("Nvme0") is True
    assert client.bdev_nvme_get_controllers("Nvme0")[0]["ctrlrs"][0]["state"] == "enabled"


def test_health_and_commands_are_answered(polluxd, model):
    client = polluxd.client
    attach(client, model)
    health = client.bdev_nvme_get_controller_health_info("Nvme0")
    assert health["traddr"] == model.address
    assert 0 <= health["temperature_celsius"] < 100
    command = struct.pack("<BBHI", 0x06, 0, 0, 0) + bytes(32) + struct.pack("<I", 1) + bytes(20)
    answer = client.bdev_nvme_send_cmd(
        "Nvme0", "admin", "c2h", base64.urlsafe_b64encode(command).decode(), data_len=4096
    )
    data = base64.urlsafe_b64decode(answer["data"])
    assert data[4:24].decode().strip() == health["serial_number"]
    completion = base64.urlsafe_b64decode(answer["cpl"])
    assert len(completion) == 16 and struct.unpack_from("<H", completion, 14)[0] >> 1 == 0


def test_firmware_is_written_while_nobody_uses_the_disks(polluxd, model, tmp_path):
    client = polluxd.client
    attach(client, model)
    firmware = tmp_path / "firmware"
    firmware.write_bytes(b"2.0     " + os.urandom(20472))  # The model takes its revision from there.
    assert "succeeded" in client.bdev_nvme_apply_firmware("Nvme0n1", str(firmware))
    assert client.bdev_nvme_get_controller_health_info("Nvme0")["firmware_revision"] == "2.0"
    exports.export(client, "Nvme0n1")
    with pytest.raises(RpcError) as refused:
        client.bdev_nvme_apply_firmware("Nvme0n1", str(firmware))
    assert refused.value.code == -32603


@pytest.mark.parametrize(
    "code, change",
    [
        (-95, {"trtype": "RDMA"}),
        (-22, {"trtype": "TCP"}),
        (-22, {"trtype": "TCP", "trsvcid": "4420", "subnqn": "disks"}),
        (-22, {"trtype": "Pigeon"}),
        (-22, {"trtype": "PCIe", "traddr": "nowhere"}),
        (-22, {"name": ""}),
        (-22, {"num_io_queues": 0}),
        (-22, {"max_bdevs": 0}),
        (-22, {"adrfam": "carrier"}),
        (-22, {"reconnect_delay_sec": 3}),
        (-19, {"trtype": "PCIe", "traddr": "ffff:ff:1f.7"}),
    ],
)
def test_what_cannot_be_attached_is_refused_with_its_code(shared_polluxd, tmp_path, code, change):
    parameters = {"name": "Nvme0", "trtype": "VFIOUSER", "traddr": str(tmp_path), **change}
    with pytest.raises(RpcError) as refused:
        shared_polluxd.client.call("bdev_nvme_attach_controller", parameters)
    assert refused.value.code == code
    assert shared_polluxd.client.bdev_nvme_get_controllers() == []


def test_names_and_devices_are_taken_once(polluxd, start_model):
    first, second = start_model(), start_model()
    client = polluxd.client
    attach(client, first)
    for name, model, code in (("Nvme0", first, -114), ("Other", first, -17), ("Nvme0", second, -22)):
        with pytest.raises(RpcError) as refused:
            attach(client, model, name)
        assert refused.value.code == code
    for method, code in (
        ("bdev_nvme_detach_controller", -19),
        ("bdev_nvme_get_controllers", -22),
        ("bdev_nvme_reset_controller", -19),
        ("bdev_nvme_get_controller_health_info", -32603),
    ):
        with pytest.raises(RpcError) as refused:
            client.call(method, {"name": "Nobody"})
        assert refused.value.code == code, method


def test_what_rpc_py_always_sends_is_taken(polluxd, model):
    parameters = {
        "name": "Nvme0",
        "trtype": "vfiouser",
        "traddr": model.address + "/",
        "prchk_reftag": False,
        "prchk_guard": False,
        "hdgst": False,
        "ddgst": False,
        "allow_unrecognized_csi": False,
        "disable_sq_flow_control": False,
    }
    assert polluxd.client.call("bdev_nvme_attach_controller", parameters) == ["Nvme0n1"]
    options = json.loads(
        '{"delay_cmd_submit":true,"disable_auto_failback":false,"generate_uuids":false,'
        '"nvme_error_stat":false,"io_path_stat":false,"allow_accel_sequence":false,"enable_flush":false}'
    )
    polluxd.client.bdev_nvme_detach_controller("Nvme0", traddr=model.address)
    assert polluxd.client.call("bdev_nvme_set_options", options) is True
    assert polluxd.client.bdev_nvme_set_hotplug(True) is True
    assert polluxd.client.bdev_nvme_set_hotplug(False) is True
