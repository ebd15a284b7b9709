"""The process: how it starts, in which states it can be asked what, and how it ends."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

import pollux
from exports import (
    MIB,
    admit,
    export,
    fails_to_start,
    file_disk,
    listen,
    make_node,
    memory_disk,
    saved,
    shown,
    wait_until,
)
from pollux.pytest_plugin import StartFailed, free_port, polluxd_path

STARTUP_ONLY = {
    *("framework_start_init", "iscsi_set_options", "bdev_set_options", "accel_set_driver"),
    "ioat_scan_accel_module",
    *("nvmf_set_config", "nvmf_set_max_subsystems", "nvmf_set_crdt"),
}


def run(*arguments):
    return subprocess.run(
        [polluxd_path(), *arguments], capture_output=True, text=True, timeout=20, check=False
    )


# States.


def test_startup_methods_are_refused_at_run_time(shared_polluxd):
    for method in STARTUP_ONLY:
        with pytest.raises(pollux.NotPermitted, match="before the framework is initialized"):
            shared_polluxd.client.call(method)


def test_run_time_methods_are_refused_before_initialisation(waiting_polluxd):
    client = waiting_polluxd.client
    now = set(client.rpc_get_methods(current=True))
    assert STARTUP_ONLY | {"spdk_get_version", "rpc_get_methods", "log_set_level"} <= now
    later = set(client.rpc_get_methods()) - now
    assert {"bdev_get_bdevs", "framework_get_config", "spdk_kill_instance"} <= later
    for method in later:
        with pytest.raises(pollux.NotPermitted, match="framework_start_init"):
            client.call(method)


def test_start_init_begins_the_run_time(start_polluxd):
    client = start_polluxd("--wait-for-rpc").client
    assert client.framework_start_init() is True
    assert client.bdev_get_bdevs() == []
    with pytest.raises(pollux.NotPermitted):
        client.framework_start_init()


def test_the_initialisation_happens_once_however_often_it_is_asked_for(start_polluxd):
    client = start_polluxd("--wait-for-rpc").client
    outcomes = client.batch([("framework_start_init", None)] * 3)
    assert [isinstance(one, pollux.RpcError) for one in outcomes] == [False, True, True]
    assert [one.errno for one in outcomes[1:]] == [114, 114]
    assert client.bdev_get_bdevs() == []


def test_wait_init_of_another_caller_ends_with_the_initialisation(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    with polluxd.connect() as other:
        other.connection.send(b'{"jsonrpc":"2.0","id":"wait","method":"framework_wait_init"}\n')
        # Later calls are answered meanwhile, and the one that waits is not.
        assert other.spdk_get_version()
        polluxd.client.framework_start_init()
        assert other.connection.receive(other.connection.deadline()) == {
            "jsonrpc": "2.0",
            "id": "wait",
            "result": True,
        }
    assert polluxd.client.framework_wait_init() is True


def test_options_are_set_before_initialisation_and_kept(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    client = polluxd.client
    client.iscsi_set_options(node_base="iqn.2026-01.test", max_sessions=7, immediate_data=False)
    client.bdev_set_options(bdev_auto_examine=False)
    client.framework_start_init()
    before = saved(client)
    assert client.iscsi_get_options()["node_base"] == "iqn.2026-01.test"
    polluxd.restart("-m", "0x1")
    options = polluxd.client.iscsi_get_options()
    assert (options["node_base"], options["max_sessions"]) == ("iqn.2026-01.test", 7)
    assert options["immediate_data"] is False
    assert saved(polluxd.client) == before


def test_pool_sizes_left_to_pollux_are_shown_as_what_they_became(polluxd):
    options = polluxd.client.iscsi_get_options()
    for pool in ("pdu", "immediate_data", "data_out"):
        assert options[f"{pool}_pool_size"] > 0


def test_iscsi_options_are_set_once(start_polluxd):
    client = start_polluxd("--wait-for-rpc").client
    client.iscsi_set_options(max_sessions=3)
    with pytest.raises(pollux.InternalError):
        client.iscsi_set_options(max_sessions=4)
    client.framework_start_init()
    assert client.iscsi_get_options()["max_sessions"] == 3


@pytest.mark.parametrize(
    "field, value",
    [
        ("max_sessions", 0),
        ("max_sessions", 65536),
        ("nop_in_interval", 61),
        ("error_recovery_level", 3),
        ("first_burst_length", 100),
        ("max_connections_per_session", 0),
    ],
)
def test_unacceptable_options_are_named_and_change_nothing(waiting_polluxd, field, value):
    with pytest.raises(pollux.InternalError) as caught:
        waiting_polluxd.client.iscsi_set_options(**{field: value})
    assert (caught.value.field, caught.value.value) == (field, str(value))
    assert caught.value.reason


# What it says of itself.


def test_version_in_words_and_in_parts(shared_polluxd):
    version = shared_polluxd.client.spdk_get_version()
    assert "Pollux" in version["version"]
    fields = version["fields"]
    assert set(fields) - {"commit"} == {"major", "minor", "patch", "suffix"}
    assert [type(fields[name]) for name in ("major", "minor", "patch", "suffix")] == [int] * 3 + [str]


def test_every_method_of_the_descriptors_is_served(shared_polluxd):
    client = shared_polluxd.client
    everything = client.rpc_get_methods()
    assert sorted(everything) == sorted(client.catalog.methods)
    assert set(everything) - set(client.rpc_get_methods(current=True)) == STARTUP_ONLY


def test_subsystems_stand_after_those_they_depend_on(shared_polluxd):
    seen = set()
    for one in shared_polluxd.client.framework_get_subsystems():
        assert set(one) == {"subsystem", "depends_on"}
        assert set(one["depends_on"]) <= seen
        seen.add(one["subsystem"])
    assert {"accel", "bdev", "scsi", "nvmf", "iscsi"} <= seen


def test_an_unknown_subsystem_is_an_error(shared_polluxd):
    with pytest.raises(pollux.InvalidParams) as caught:
        shared_polluxd.client.framework_get_config("vhost")
    assert (caught.value.field, caught.value.value) == ("name", "vhost")


def test_reactors_are_those_of_the_mask(start_polluxd):
    cores = sorted(os.sched_getaffinity(0))[:2]
    polluxd = start_polluxd("-m", f"[{','.join(map(str, cores))}]")
    answer = polluxd.client.framework_get_reactors()
    assert (answer["tick_rate"], answer["pid"]) == (10**9, polluxd.pid)
    assert [one["lcore"] for one in answer["reactors"]] == cores
    for one in answer["reactors"]:
        assert os.sched_getaffinity(one["tid"]) == {one["lcore"]}
        assert {"numa_id", "busy", "idle", "in_interrupt", "irq", "sys", "usr", "lw_threads"} <= set(one)
    threads = polluxd.client.thread_get_stats()["threads"]
    assert threads[0]["name"] == "app_thread" and len(threads) == len(cores) + 1
    assert {one["name"] for one in polluxd.client.thread_get_pollers()["threads"]} == {
        one["name"] for one in threads
    }


def core_times(core):
    """usr, sys and irq of a core since boot."""
    with open("/proc/stat") as file:
        fields = next(line for line in file if line.startswith(f"cpu{core} ")).split()
    user, nice, system, _, _, irq, softirq = map(int, fields[1:8])
    return {"usr": user + nice, "sys": system, "irq": irq + softirq}


def test_a_reactor_shows_what_its_core_did_since_the_start(start_polluxd):
    cores = os.sched_getaffinity(0)
    core = min(cores)
    before = core_times(core)
    polluxd = start_polluxd("-m", f"[{core}]")

    # Others use the core too: datagrams to oneself cost all three kinds of time.
    os.sched_setaffinity(0, {core})
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))

            def reached():
                for _ in range(1000):
                    sink.sendto(bytes(1000), sink.getsockname())
                reactor = polluxd.client.framework_get_reactors()["reactors"][0]
                return all(reactor[kind] >= 5 for kind in before)

            assert wait_until(reached, seconds=20)
    finally:
        os.sched_setaffinity(0, cores)
    reactor = polluxd.client.framework_get_reactors()["reactors"][0]
    for kind, now in core_times(core).items():
        assert reactor[kind] <= now - before[kind]


# Configuration in and out.


def load_config(client, config):
    """As rpc.py does it: all that may be called now, then framework_start_init, until no progress."""
    known = set(client.rpc_get_methods())
    entries = [entry for part in config for entry in part["config"] or []]
    assert {entry["method"] for entry in entries} <= known
    while entries:
        allowed = set(client.rpc_get_methods(current=True))
        now = [entry for entry in entries if entry["method"] in allowed]
        for entry in now:
            client.call(entry["method"], entry.get("params"))
        entries = [entry for entry in entries if entry not in now]
        if "framework_start_init" in allowed:
            client.framework_start_init()
        elif not now:
            break
    assert not entries


def test_a_saved_configuration_loads_into_a_fresh_daemon(start_polluxd, tmp_path):
    (tmp_path / "disk2").write_bytes(bytes(MIB))
    one = start_polluxd("--wait-for-rpc")
    one.client.iscsi_set_options(max_queue_depth=32)
    one.client.framework_start_init()
    memory_disk(one.client, name="Mem", uuid="b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10")
    one.client.bdev_null_create("Null", 2048, 4096)
    file_disk(one.client, tmp_path / "disk")
    one.client.bdev_uring_create(str(tmp_path / "disk2"), "Uring", 512)
    listen(one.client, 1)
    listen(one.client, 2, wait=True)
    admit(one.client, 3, ["iqn.2026-01.test:a", "!iqn.2026-01.test:b"], ["127.0.0.0/8", "ANY"])
    make_node(one.client, "one", "Mem", "File0", maps=[(1, 3)], queue_depth=8)
    make_node(one.client, "iqn.2026-01.test:two", "Null", maps=[(1, 3), (2, 3)], queue_depth=8)
    config, objects = saved(one.client), shown(one.client)
    one.stop()

    other = start_polluxd("--wait-for-rpc")
    load_config(other.client, config)
    assert saved(other.client) == config
    assert shown(other.client) == objects


def write_config(path, *calls, subsystem="bdev"):
    entries = [{"method": method, "params": params} for method, params in calls]
    path.write_text(json.dumps({"subsystems": [{"subsystem": subsystem, "config": entries}]}))
    return path


NULL_DISK = ("bdev_null_create", {"name": "Imported", "num_blocks": 2048, "block_size": 512})


def test_a_file_is_imported_into_an_empty_state_and_refused_later(start_polluxd, tmp_path):
    path = write_config(tmp_path / "config.json", NULL_DISK)
    polluxd = start_polluxd("-c", path)
    assert [one["name"] for one in polluxd.client.bdev_get_bdevs()] == ["Imported"]
    with pytest.raises(StartFailed, match="(?s)exit code 1.*has a configuration already"):
        polluxd.restart()
    polluxd.restart("-m", "0x1")
    assert [one["name"] for one in polluxd.client.bdev_get_bdevs()] == ["Imported"]


def test_without_state_a_file_is_imported_every_time(start_polluxd, tmp_path):
    path = write_config(tmp_path / "config.json", NULL_DISK)
    polluxd = start_polluxd("--no-state", "-c", path)
    polluxd.client.bdev_null_create("More", 2048, 512)
    polluxd.restart()
    assert [one["name"] for one in polluxd.client.bdev_get_bdevs()] == ["Imported"]


SPDK_FILE = """
// As SPDK's own save_config writes it, shortened.
{ "subsystems": [
  {"subsystem": "keyring", "config": []},
  {"subsystem": "iobuf", "config": [
    {"method": "iobuf_set_options", "params": {"small_pool_count": 8192, "small_bufsize": 8192}}]},
  {"subsystem": "sock", "config": [
    {"method": "sock_set_default_impl", "params": {"impl_name": "posix"}},
    {"method": "sock_impl_set_options", "params": {"impl_name": "posix", "tls_version": 0}}]},
  {"subsystem": "vmd", "config": []},
  {"subsystem": "accel", "config": [
    {"method": "accel_set_options", "params": {"small_cache_size": 128, "large_cache_size": 16,
      "task_count": 2048, "sequence_count": 2048, "buf_count": 2048}},
    {"method": "dsa_scan_accel_module", "params": {"config_kernel_mode": false}}]},
  {"subsystem": "bdev", "config": [
    {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 65535, "bdev_io_cache_size": 256,
      "bdev_auto_examine": true, "iobuf_small_cache_size": 128, "iobuf_large_cache_size": 16}},
    {"method": "bdev_raid_set_options", "params": {"process_window_size_kb": 1024}},
    {"method": "bdev_nvme_set_options", "params": {"action_on_timeout": "none", "timeout_us": 0}},
    {"method": "bdev_nvme_set_hotplug", "params": {"period_us": 100000, "enable": false}},
    {"method": "bdev_malloc_create", "params": {"name": "Malloc0", "num_blocks": 8192,
      "block_size": 512, "physical_block_size": 512, "uuid": "b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10",
      "optimal_io_boundary": 0, "md_size": 0, "dif_type": 0, "dif_is_head_of_md": false,
      "dif_pi_format": 0}},
    {"method": "bdev_wait_for_examine"}]},
  {"subsystem": "scsi", "config": null},
  {"subsystem": "nvmf", "config": [
    {"method": "nvmf_set_config", "params": {"discovery_filter": "match_any",
      "admin_cmd_passthru": {"identify_ctrlr": false}, "dhchap_digests": ["sha256", "sha384"],
      "dhchap_dhgroups": ["null", "ffdhe2048"]}},
    {"method": "nvmf_set_max_subsystems", "params": {"max_subsystems": 1024}},
    {"method": "nvmf_set_crdt", "params": {"crdt1": 0, "crdt2": 0, "crdt3": 0}},
    {"method": "nvmf_create_transport", "params": {"trtype": "TCP", "max_queue_depth": 128,
      "max_io_qpairs_per_ctrlr": 127, "in_capsule_data_size": 4096, "max_io_size": 131072,
      "io_unit_size": 131072, "max_aq_depth": 128, "num_shared_buffers": 511,
      "buf_cache_size": 4294967295, "dif_insert_or_strip": false, "zcopy": false,
      "c2h_success": true, "sock_priority": 0, "abort_timeout_sec": 1, "ack_timeout": 0,
      "data_wr_pool_size": 0}},
    [{"method": "nvmf_create_subsystem", "params": {"nqn": "nqn.2016-06.io.spdk:cnode1",
      "allow_any_host": true, "serial_number": "SPDK1", "model_number": "SPDK_Controller1",
      "max_namespaces": 32, "min_cntlid": 1, "max_cntlid": 65519, "ana_reporting": false}}],
    [{"method": "nvmf_subsystem_add_ns", "params": {"nqn": "nqn.2016-06.io.spdk:cnode1",
      "namespace": {"nsid": 1, "bdev_name": "Malloc0",
        "nguid": "B7A1E2A47A0E4B3E9C510C7D3A0F6F10",
        "uuid": "b7a1e2a4-7a0e-4b3e-9c51-0c7d3a0f6f10"}}}],
    [{"method": "nvmf_subsystem_add_listener", "params": {"nqn": "nqn.2016-06.io.spdk:cnode1",
      "listen_address": {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1",
        "trsvcid": "NVMEPORT"}, "secure_channel": false}}]]},
  {"subsystem": "iscsi", "config": [
    {"method": "iscsi_set_options", "params": {"node_base": "iqn.2016-06.io.spdk",
      "max_sessions": 128, "max_connections_per_session": 2, "max_queue_depth": 64,
      "default_time2wait": 2, "default_time2retain": 20, "first_burst_length": 8192,
      "immediate_data": true, "allow_duplicated_isid": false, "error_recovery_level": 0,
      "nop_timeout": 60, "nop_in_interval": 30, "disable_chap": false, "require_chap": false,
      "mutual_chap": false, "chap_group": 0, "max_large_datain_per_connection": 64,
      "max_r2t_per_connection": 4, "pdu_pool_size": 36864, "immediate_data_pool_size": 16384,
      "data_out_pool_size": 2048}},
    {"method": "iscsi_create_portal_group", "params": {"tag": 1, "portals": [
      {"host": "127.0.0.1", "port": "PORT"}], "private": false}},
    {"method": "iscsi_create_initiator_group", "params": {"initiators": ["ANY"], "tag": 2,
      "netmasks": ["127.0.0.1/32"]}},
    {"method": "iscsi_create_target_node", "params": {"name": "iqn.2016-06.io.spdk:disk1",
      "alias_name": "disk1_alias", "pg_ig_maps": [{"ig_tag": 2, "pg_tag": 1}],
      "luns": [{"bdev_name": "Malloc0", "lun_id": 0}], "queue_depth": 64, "disable_chap": true,
      "require_chap": false, "mutual_chap": false, "chap_group": 0, "header_digest": false,
      "data_digest": false}}]}
] }
"""


def test_spdks_own_file_is_imported_and_what_is_left_out_is_said(start_polluxd, tmp_path):
    path = tmp_path / "spdk.json"
    path.write_text(SPDK_FILE.replace("NVMEPORT", str(free_port())).replace("PORT", str(free_port())))
    polluxd = start_polluxd("-c", path)
    assert [one["name"] for one in polluxd.client.bdev_get_bdevs()] == ["Malloc0"]
    (subsystem,) = polluxd.client.nvmf_get_subsystems("nqn.2016-06.io.spdk:cnode1")
    assert subsystem["namespaces"][0]["bdev_name"] == "Malloc0" and subsystem["listen_addresses"]
    (node,) = polluxd.client.iscsi_get_target_nodes()
    assert node["luns"] == [{"bdev_name": "Malloc0", "lun_id": 0}]
    for method in ("sock_set_default_impl", "bdev_raid_set_options", "dsa_scan_accel_module"):
        assert re.search(f"{method} .*left out", polluxd.log()), method
    before = saved(polluxd.client)
    polluxd.restart("-m", "0x1")
    assert saved(polluxd.client) == before


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("{", "JSON"),
        ("[]", r"configuration '\[\]': is no object"),
        ('{"subsystems":[{"subsystem":"bdev","config":[{"method":"bdev_nvme_attach_controller"}]}]}',
         "bdev_nvme_attach_controller"),
        ('{"subsystems":[{"subsystem":"bdev","config":[{"method":"bdev_null_create","params":{"name":"a"}}]}]}',
         "num_blocks"),
    ],
)
def test_a_file_that_cannot_be_imported_stops_the_start(start_polluxd, tmp_path, content, complaint):
    path = tmp_path / "config.json"
    path.write_text(content)
    fails_to_start(start_polluxd("-c", path, start=False), complaint)


def test_a_missing_file_is_said(start_polluxd, tmp_path):
    with pytest.raises(StartFailed, match="(?s)exit code 1.*nothing.json"):
        start_polluxd("-c", tmp_path / "nothing.json")


def test_a_failed_import_leaves_the_state_empty(start_polluxd, tmp_path):
    path = write_config(tmp_path / "c.json", NULL_DISK, ("bdev_null_create", {"name": "bad"}))
    polluxd = start_polluxd("-c", path, start=False)
    fails_to_start(polluxd, "num_blocks")
    write_config(path, NULL_DISK)
    polluxd.start()
    assert [one["name"] for one in polluxd.client.bdev_get_bdevs()] == ["Imported"]


# Sockets.


def test_the_socket_is_for_its_owner_alone(shared_polluxd):
    mode = os.stat(shared_polluxd.socket).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_a_stale_socket_is_replaced_and_none_is_left_behind(polluxd):
    polluxd.kill()
    assert pathlib.Path(polluxd.socket).exists()
    polluxd.start()
    assert polluxd.client.spdk_get_version()
    polluxd.stop()
    assert not pathlib.Path(polluxd.socket).exists()


def test_a_socket_in_use_is_refused(start_polluxd, polluxd):
    with pytest.raises(StartFailed, match="(?s)exit code 1.*another process does"):
        start_polluxd("-r", polluxd.socket)
    assert polluxd.client.spdk_get_version()


def test_a_file_in_the_sockets_place_stays(start_polluxd, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(StartFailed, match="(?s)exit code 1"):
        start_polluxd("-r", path)
    assert path.read_text() == "precious"


def test_nobody_reaches_a_process_that_another_socket_stops(start_polluxd, tmp_path):
    (tmp_path / "file").write_text("")
    for _ in range(10):
        polluxd = start_polluxd("--no-state", "-r", tmp_path / "file", start=False)
        reached = False
        with subprocess.Popen(polluxd.command(), stderr=subprocess.DEVNULL) as one:
            while one.poll() is None:
                with socket.socket(socket.AF_UNIX) as caller:
                    reached |= caller.connect_ex(polluxd.socket) == 0
        assert one.returncode == 1
        assert not reached, "it listened before it knew that it could not"


def test_several_sockets_and_tcp_serve_the_same(start_polluxd, tmp_path):
    port = free_port()
    polluxd = start_polluxd("-r", tmp_path / "second", "--rpc-tcp", f"127.0.0.1:{port}")
    polluxd.client.bdev_null_create("Null", 2048, 512)
    for address in (tmp_path / "second", f"127.0.0.1:{port}"):
        with pollux.Client(address) as client:
            assert [one["name"] for one in client.bdev_get_bdevs()] == ["Null"]


def test_spdk_compat_listens_where_spdk_does(start_polluxd):
    path = pathlib.Path("/var/tmp/spdk.sock")
    if path.exists() or not os.access(path.parent, os.W_OK):
        pytest.skip(f"{path} is taken, or not ours")
    # It listens on one socket after the other, and answers when all listen.
    start_polluxd("--spdk-compat").client.spdk_get_version()
    with pollux.Client(path) as client:
        assert client.spdk_get_version()


# The end.


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGQUIT"])
def test_kill_instance_ends_it_in_order(polluxd, name):
    try:
        assert polluxd.client.spdk_kill_instance(name) is True
    except pollux.ConnectionLost:
        pass
    polluxd.wait()


def test_kill_instance_with_sigkill_ends_it_at_once(polluxd):
    polluxd.client.bdev_null_create("Null", 2048, 512)
    with pytest.raises(pollux.ConnectionLost):
        polluxd.client.spdk_kill_instance("SIGKILL")
    assert polluxd.process.wait(5) == -signal.SIGKILL
    polluxd.kill()
    polluxd.start()
    assert polluxd.client.bdev_get_bdevs("Null")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
def test_signals_without_a_meaning_do_nothing(polluxd, name):
    assert polluxd.client.spdk_kill_instance(name) is True
    polluxd.process.send_signal(getattr(signal, name))
    assert polluxd.client.spdk_get_version()


def test_an_unknown_signal_is_named(shared_polluxd):
    with pytest.raises(pollux.InvalidParams) as caught:
        shared_polluxd.client.spdk_kill_instance("SIGWINCH")
    assert (caught.value.field, caught.value.value) == ("sig_name", "SIGWINCH")


def test_it_ends_in_time_under_load(polluxd):
    target = export(polluxd.client, memory_disk(polluxd.client))
    with subprocess.Popen(
        ["timeout", "-s", "KILL", "20", "iscsi-perf", "-m", "32", "-b", "8", "-t", "10", target.url()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as load:
        try:
            assert wait_until(lambda: polluxd.client.bdev_get_iostat()["bdevs"][0]["num_read_ops"] > 100)
            with polluxd.connect() as flood:
                line = b'{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs"}\n'
                flood.connection.send(line * 500)
                polluxd.stop()
        finally:
            load.kill()


def test_it_ends_in_time_while_waiting_for_rpc(start_polluxd):
    polluxd = start_polluxd("--wait-for-rpc")
    with polluxd.connect() as other:
        other.connection.send(b'{"jsonrpc":"2.0","id":1,"method":"framework_wait_init"}\n')
        polluxd.client.spdk_get_version()
        polluxd.stop()


def test_it_ends_in_time_while_a_caller_waits_for_a_disk(polluxd):
    with polluxd.connect() as other:
        line = b'{"jsonrpc":"2.0","id":1,"method":"bdev_get_bdevs","params":{"name":"No","timeout":60000}}\n'
        other.connection.send(line)
        assert other.spdk_get_version()
        polluxd.stop()


def test_it_ends_in_order_at_any_moment_of_its_start(start_polluxd):
    polluxd = start_polluxd()
    polluxd.client.bdev_null_create("Null", 2048, 512)
    rng = random.Random(11)
    for _ in range(15):
        polluxd.stop()
        with subprocess.Popen(polluxd.command(), stderr=subprocess.DEVNULL) as process:
            time.sleep(rng.random() * 0.3)
            process.send_signal(signal.SIGTERM)
            # Before it has taken over its signals, it ends as every process does.
            assert process.wait(20) in (0, -signal.SIGTERM)
        polluxd.start()
        assert polluxd.client.bdev_get_bdevs("Null")


def test_it_ends_in_order_during_framework_start_init(start_polluxd):
    for pause in (0, 0.02, 0.05, 0.1, 0.2):
        polluxd = start_polluxd("--wait-for-rpc")
        with polluxd.connect() as other:
            other.connection.send(b'{"jsonrpc":"2.0","id":1,"method":"framework_start_init"}\n')
            time.sleep(pause)
            polluxd.stop()


def test_a_second_daemon_on_the_same_state_is_refused(start_polluxd, polluxd):
    polluxd.client.bdev_null_create("Null", 2048, 512)
    with pytest.raises(StartFailed, match="(?s)exit code 1.*in use by another polluxd"):
        start_polluxd("--state-dir", polluxd.state_dir)
    assert polluxd.client.bdev_get_bdevs("Null")


# The command line.


def test_help_names_every_option():
    result = run("--help")
    assert result.returncode == 0 and not result.stderr
    options = "-m -r -c --rpc-tcp --spdk-compat --wait-for-rpc --state-dir --no-state --hugepages --mem-mib"
    options += " --poll --idle-after-us --grpc --http --log-level --version --help"
    for option in options.split():
        assert re.search(rf"(^|[ ,]){option}\b", result.stdout, re.MULTILINE), option


def test_version_is_one_line():
    result = run("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"polluxd \d+\.\d+\.\d+\S*\n", result.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["stray"],
        ["-m"],
        ["-m", "0x0"],
        ["-m", "[0,"],
        ["-m", "[999]"],
        ["-m", "zz"],
        ["--hugepages", "maybe"],
        ["--mem-mib", "-1"],
        ["--idle-after-us", "2000000"],
        ["--log-level", "LOUD"],
        ["--grpc", "0.0.0.0:1"],
        ["--grpc", "192.0.2.1:50051"],
        ["--grpc", "maybe"],
        ["--http", "127.0.0.1:1"],
        ["--poll=yes"],
        # RPC over TCP is for this machine alone.
        ["--rpc-tcp", "0.0.0.0:0"],
        ["--rpc-tcp", "192.0.2.1:5260"],
        ["--rpc-tcp", "127.0.0.1"],
        ["--rpc-tcp", "localhost:nothing"],
        ["--rpc-tcp", ""],
        ["--no-state", "--state-dir", "/tmp/x"],
    ],
    ids=" ".join,
)
def test_a_bad_option_is_named(arguments):
    result = run(*arguments)
    assert result.returncode == 2 and not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("polluxd: ") and arguments[0].partition("=")[0] in line


def test_systemd_hears_when_it_is_ready_and_when_it_stops(start_polluxd, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        address = f"\0pollux-test-{os.getpid()}-{os.urandom(4).hex()}"
        systemd.bind(address)
        systemd.settimeout(10)
        polluxd = start_polluxd(env={"NOTIFY_SOCKET": "@" + address[1:]})
        assert systemd.recv(100) == b"READY=1"
        # It is what it says.
        assert polluxd.client.spdk_get_version()
        polluxd.stop()
        assert systemd.recv(100) == b"STOPPING=1"
