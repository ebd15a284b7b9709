"""cmake --install, and programs of strangers that are built against what it installed."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD") or ROOT / "build").resolve()
PROGRAMS = (
    *("polluxd", "pollux", "pollux-identify"),
    *("pollux-perf", "pollux-ioat-perf", "pollux-accel-perf", "pollux-bdev-perf"),
)
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]

DRIVERS = {"nvme": "PolluxNvme", "ioat": "PolluxIoat"}

CMAKE_PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(stranger LANGUAGES {languages})
find_package({package} 0.1 REQUIRED)
add_executable(hello {source})
target_compile_options(hello PRIVATE -Wall -Wextra -pedantic -Werror)
target_link_libraries(hello PRIVATE {package}::{package})
"""

# Has both drivers.
BOTH = """
#include <pollux/ioat.h>
#include <pollux/nvme.h>
#include <stdio.h>
int main(void) {
  struct pollux_nvme_host* nvme = NULL;
  struct pollux_ioat_host* ioat = NULL;
  struct pollux_ioat_device* device = NULL;
  if (pollux_nvme_host_create(NULL, &nvme) != 0 || pollux_ioat_host_create(NULL, &ioat) != 0) return 2;
  if (pollux_ioat_attach(ioat, "/nowhere/at/all", NULL, &device) == 0) return 3;
  fprintf(stderr, "%s", pollux_ioat_error_text());
  pollux_ioat_host_destroy(ioat);
  pollux_nvme_host_destroy(nvme);
  return 1;
}
"""


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=300, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def sanitizers():
    """The flags without which a program cannot be linked to a build with sanitizers."""
    cache = (BUILD / "CMakeCache.txt").read_text()
    (value,) = re.findall(r"^POLLUX_SANITIZE:STRING=(.*)$", cache, re.MULTILINE)
    return [f"-fsanitize={value}"] if value else []


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    missing = [name for name in PROGRAMS if not (BUILD / "bin" / name).exists()]
    missing += [name for name in DRIVERS if not (BUILD / f"libpollux-{name}.a").exists()]
    if missing:
        pytest.fail(f"{BUILD} is not built")
    built_for = tmp_path_factory.mktemp("install") / "first"
    run("cmake", "--install", BUILD, "--prefix", built_for)
    moved = built_for.parent / "elsewhere"  # Nothing in the tree says where it was installed.
    built_for.rename(moved)
    return moved


@pytest.fixture
def pkg_config(prefix):
    def words(*arguments):
        (directory,) = prefix.rglob("pkgconfig")
        env = {**os.environ, "PKG_CONFIG_PATH": str(directory)}
        return run("pkg-config", *arguments, env=env).split()

    return words


def expect_it_runs(program):
    """Without a device it says so: the library is all there."""
    done = subprocess.run(
        [program, "/nowhere/at/all"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_are_installed_and_tell_what_they_do(prefix, program):
    assert run(prefix / "bin" / program, "--help")


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_header_compiles_alone_in_both_languages(prefix, tmp_path, driver):
    (tmp_path / "alone.c").write_text(f"#include <pollux/{driver}.h>\nint main(void) {{ return 0; }}\n")
    shutil.copy(tmp_path / "alone.c", tmp_path / "alone.cc")
    include = f"-I{prefix}/include"
    run("gcc", "-std=c11", *STRICT, "-fsyntax-only", include, tmp_path / "alone.c")
    for standard in ("c++17", "c++20"):
        run("g++", f"-std={standard}", *STRICT, "-fsyntax-only", include, tmp_path / "alone.cc")


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_library_needs_no_dpdk(prefix, pkg_config, driver):
    (archive,) = prefix.rglob(f"libpollux-{driver}.a")
    undefined = {line.split()[-1] for line in run("nm", "-u", archive).splitlines() if " U " in line}
    assert undefined
    assert not [name for name in undefined if name.startswith(("rte_", "eal_"))]
    assert not [word for word in pkg_config("--libs", "--static", f"pollux-{driver}") if "rte" in word]


def test_the_tools_need_no_dpdk(prefix):
    for program in PROGRAMS[1:]:
        assert not re.search(r"librte|libnuma", run("ldd", prefix / "bin" / program))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("compiler, ending", [("gcc -std=c11", "c"), ("g++ -std=c++17", "cc")])
def test_a_program_is_built_with_pkg_config(prefix, pkg_config, tmp_path, driver, compiler, ending):
    program = tmp_path / "hello"
    source = ROOT / "examples" / f"hello_{driver}.{ending}"
    module = f"pollux-{driver}"
    run(
        *compiler.split(), *STRICT, *sanitizers(), *pkg_config("--cflags", module), source,
        "-o", program, *pkg_config("--libs", module),
    )  # fmt: skip
    expect_it_runs(program)


@pytest.mark.parametrize("order", [("pollux-nvme", "pollux-ioat"), ("pollux-ioat", "pollux-nvme")])
def test_a_program_has_both_drivers(prefix, pkg_config, tmp_path, order):
    (tmp_path / "both.c").write_text(BOTH)
    program = tmp_path / "both"
    run(
        "gcc", "-std=c11", *STRICT, *sanitizers(), *pkg_config("--cflags", *order), tmp_path / "both.c",
        "-o", program, *pkg_config("--libs", *order),
    )  # fmt: skip
    expect_it_runs(program)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("languages, ending", [("C", "c"), ("CXX", "cc")])
def test_a_program_is_built_with_the_cmake_package(prefix, tmp_path, driver, languages, ending):
    source = f"hello_{driver}.{ending}"
    shutil.copy(ROOT / "examples" / source, tmp_path)
    project = CMAKE_PROJECT.format(languages=languages, source=source, package=DRIVERS[driver])
    (tmp_path / "CMakeLists.txt").write_text(project)
    flags = " ".join(sanitizers())
    run(
        "cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}",
    )  # fmt: skip
    run("cmake", "--build", tmp_path / "b")
    expect_it_runs(tmp_path / "b" / "hello")


@pytest.mark.parametrize("package", DRIVERS.values())
def test_another_version_is_refused(prefix, tmp_path, package):
    project = CMAKE_PROJECT.format(languages="C", source="none.c", package=package).replace("0.1 REQ", "0.2 REQ")
    (tmp_path / "CMakeLists.txt").write_text(project)
    done = subprocess.run(
        ["cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "0.1.0" in done.stderr
