"""The arrows between the folders, as the top CMakeLists.txt shows them, hold in every #include line."""

import pathlib

import layers
import project


def test_the_arrows_of_the_top_cmake_file_are_allowed_and_have_no_cycle():
    assert layers.graph_violations(layers.modules(project.ROOT)) == []


def test_every_include_line_follows_the_arrows():
    wrong = layers.include_violations(project.ROOT, project.cpp_files())
    assert not wrong, "\n".join(wrong)


def test_core_drivers_and_targets_see_no_protobuf_json_grpc_or_http():
    found = layers.modules(project.ROOT)
    for folder in found:
        if folder.split("/")[0] in ("core", "drivers", "targets"):
            seen = {link for used in layers.closure(found, folder) for link in found[used].links}
            assert seen.isdisjoint({"protobuf", "jsoncpp", "grpc", "http"}), folder


# The reader itself, on small projects.


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def violations(root, name, text):
    write(
        root,
        {
            "CMakeLists.txt": """
pollux_library(core LINKS abseil)
pollux_library(core/memory USES core LINKS dpdk)  # pollux_library(core/none)
pollux_library(drivers/disk
               USES core core/memory)
pollux_library(targets/iscsi USES core)
pollux_proto(proto)
pollux_library(rpc USES core proto LINKS jsoncpp)
pollux_library(service USES rpc drivers/disk targets/iscsi)
pollux_binary(polluxd service/main/polluxd.cc USES service)
""",
            name: text,
        },
    )
    assert layers.graph_violations(layers.modules(root)) == []
    return layers.include_violations(root, [pathlib.Path(name)])


def test_what_a_used_folder_uses_may_be_included(tmp_path):
    text = '#include <sys/uio.h>\n#include <vector>\n#include "core/memory/pool.h"\n#include "absl/status/status.h"\n'
    assert violations(tmp_path, "drivers/disk/disk.cc", text) == []
    assert violations(tmp_path, "service/main/polluxd.cc", '#include "pollux/v1/a.pb.h"\n') == []


def test_a_target_that_includes_a_driver_is_found_with_its_line(tmp_path):
    wrong = violations(tmp_path, "targets/iscsi/a.h", '#pragma once\n\n#include "drivers/disk/d.h"\n')
    assert wrong == [
        'targets/iscsi/a.h:3: #include "drivers/disk/d.h": targets/iscsi does not use drivers/disk'
    ]


def test_a_library_outside_of_its_module_is_found(tmp_path):
    assert violations(tmp_path, "core/memory/m.cc", "#include <rte_eal.h>\n") == []
    for name, line in {
        "drivers/disk/d.cc": "#include <rte_eal.h>",
        "core/a.cc": "#include <google/protobuf/message.h>",
        "service/s.cc": "#include <json/value.h>",
        "rpc/r.cc": "#include <curl/curl.h>",
    }.items():
        assert len(violations(tmp_path, name, line + "\n")) == 1, name


def test_a_file_in_no_library_is_found(tmp_path):
    assert violations(tmp_path, "core/deep/down/a.cc", "") == [
        "core/deep/down/a.cc: lies in no folder of the top CMakeLists.txt"
    ]


def test_arrows_against_the_order_and_cycles_are_found():
    def module(folder, *uses):
        return {folder: layers.Module(folder, list(uses), [])}

    assert layers.graph_violations(module("core", "rpc") | module("rpc"))
    assert layers.graph_violations(module("targets/iscsi", "drivers/nvme") | module("drivers/nvme"))
    assert layers.graph_violations(module("core", "core/gone"))
    assert layers.graph_violations(module("core", "core/net") | module("core/net", "core"))
    assert not layers.graph_violations(module("core") | module("core/net", "core"))
