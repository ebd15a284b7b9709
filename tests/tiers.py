"""The tiers of tests/run: which there are, how each is built and run, and the total of all."""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
BUILD_DIR = {"release": "build", "asan": "build-asan", "tsan": "build-tsan"}

# Bounds, in seconds. A test's own limit is shorter: these end what hangs outside of a test.
BUILD_TIMEOUT = 45 * 60
PROGRAM_TIMEOUT = 10 * 60
PYTEST_TIMEOUT = 60 * 60
# What one compiler may need. A job more would swap.
JOB_BYTES = 1500 << 20

# What tests from outside run.
PROGRAMS = (
    *("polluxd", "pollux", "pollux-identify"),
    *("pollux-perf", "pollux-ioat-perf", "pollux-accel-perf", "pollux-bdev-perf"),
    *("hello_nvme", "hello_nvme_cc", "pollux-nvme-model"),
    *("hello_ioat", "hello_ioat_cc", "pollux-ioat-model"),
)

# A build that failed shows this much of its output, which begins with the first error.
BUILD_LINES = 120

SANITIZERS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:check_initialization_order=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
}


@dataclasses.dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __iadd__(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def say(text):
    print(text, flush=True)


def heading(text):
    say(f"\n== {text}")


def jobs():
    """How many compilers fit into the cores and the memory."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), available // JOB_BYTES))


def run(command, timeout, log=None, env=None, cwd=ROOT):
    """Runs a command to its end, or until `timeout`, when it and all its children are killed. Its
    output goes to the file `log`, or to ours. Returns its exit code; 124 after the timeout."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT if log else None,
        start_new_session=True,
    )
    try:
        return process.wait(timeout)
    except BaseException as end:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(end, subprocess.TimeoutExpired):
            return 124
        raise


# Builds.


def build(preset, targets=()):
    """Configures and builds a preset: all of it, or some targets, which may be a function that names
    them after the configuration. Says whether that succeeded."""
    started = time.monotonic()
    directory = ROOT / BUILD_DIR[preset]
    directory.mkdir(exist_ok=True)
    path = directory / "build.log"
    # The same source in another checkout is the same to ccache.
    env = {"CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}
    with path.open("wb") as log:
        code = run(["cmake", "--preset", preset], BUILD_TIMEOUT, log, env)
        if code == 0:
            command = ["cmake", "--build", "--preset", preset, "--parallel", str(jobs())]
            for target in targets() if callable(targets) else targets:
                command += ["--target", target]
            code = run([*command, "--", "-k", "0"], BUILD_TIMEOUT, log, env)
    say(f"{'ok  ' if code == 0 else 'FAIL'}  build {preset}, {time.monotonic() - started:.0f} s")
    if code == 0:
        return True
    lines = path.read_text(errors="replace").splitlines()
    first = next((i for i, line in enumerate(lines) if re.search(r"FAILED:|error:|CMake Error", line)), 0)
    say("\n".join(lines[first : first + BUILD_LINES]))
    say(f"(exit code {code}; all of it is in {path.relative_to(ROOT)})")
    return False


# GoogleTest programs.


# What threads share is below the targets; their tests run under TSan too when that is asked for.
TSAN_TESTS = re.compile(r"pollux_(core|drivers|rpc)")
# Debian's gRPC is not instrumented: TSan reports its every hand-over between threads as a race.
NOT_UNDER_TSAN = {"pollux_rpc_grpc"}


def unit_tests(preset, options):
    """The names of the unit tests of a configured preset; the program of `name` is `name`_test."""
    listing = subprocess.run(
        ["ctest", "--test-dir", BUILD_DIR[preset], "--show-only=json-v1"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [test["name"] for test in json.loads(listing.stdout)["tests"]]
    if preset == "tsan":
        names = [name for name in names if name not in NOT_UNDER_TSAN]
    if preset == "tsan" and not (options.tsan or options.nightly):
        names = [name for name in names if TSAN_TESTS.match(name)]
    return names


# The line that ends a case. The summary at the end repeats failures without their time.
CASE = re.compile(r"\[ +(OK|FAILED|SKIPPED) +\] .*\(\d+ ms\)$", re.MULTILINE)


def count_cases(output, code):
    """Counts what a GoogleTest program printed case by case: it may have died before its summary."""
    results = CASE.findall(output)
    count = Count(results.count("OK"), results.count("FAILED"), results.count("SKIPPED"))
    if code != 0 and count.failed == 0:
        count.failed = 1  # It crashed, hung, or a sanitizer spoke at its end.
    return count


def run_unit_program(preset, name, pattern):
    started = time.monotonic()
    directory = ROOT / BUILD_DIR[preset]
    log_path = directory / f"{name}.log"
    command = [directory / "bin" / f"{name}_test", "--gtest_color=no"]
    if pattern:
        command.append(f"--gtest_filter=*{pattern}*")
    with log_path.open("wb") as log:
        code = run(command, PROGRAM_TIMEOUT, log, SANITIZERS)
    output = log_path.read_text(errors="replace")
    count = count_cases(output, code)
    good = code == 0 and count.failed == 0
    text = f"{'ok  ' if good else 'FAIL'}  {name}: {count}, {time.monotonic() - started:.1f} s"
    if not good:
        text += f"\n{output}\n(exit code {code})"
    return count, text


def unit(preset, options):
    """Runs every GoogleTest program of a preset, as many at a time as there are cores."""
    pattern = options.k
    if pattern and not re.fullmatch(r"[\w./*:-]+", pattern):
        return Count()  # An expression for pytest.
    total = Count()
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        names = unit_tests(preset, options)
        for count, text in pool.map(lambda name: run_unit_program(preset, name, pattern), names):
            total += count
            if not pattern or count != Count():
                say(text)
    return total


# pytest.


def pytest(preset, options, *paths, workers=1, **environment):
    """Runs pytest over the paths that there are, against the programs of a preset; with workers, each
    of which takes one file after the other."""
    report = ROOT / BUILD_DIR[preset] / "pytest.xml"
    report.unlink(missing_ok=True)
    command = [PYTHON, "-m", "pytest", "-q", "-rs", f"--junitxml={report}"]
    command += [path for path in paths if (ROOT / path).exists()]
    if workers > 1:
        command += ["-n", str(workers), "--dist", "loadfile"]
    if not options.nightly:
        command += ["-m", "not nightly"]
    if options.k:
        command += ["-k", options.k]
    env = {**SANITIZERS, "POLLUX_BUILD": str(ROOT / BUILD_DIR[preset]), "PYTHONUNBUFFERED": "1"}
    code = run(command, PYTEST_TIMEOUT, env={**env, **environment})
    count = Count()
    if report.exists():
        for suite in xml.etree.ElementTree.parse(report).iter("testsuite"):
            bad = int(suite.get("failures")) + int(suite.get("errors"))
            skipped = int(suite.get("skipped"))
            count += Count(int(suite.get("tests")) - bad - skipped, bad, skipped)
    nothing_selected = 5
    if code not in (0, nothing_selected) and count.failed == 0:
        count.failed = 1
        say(f"FAIL  pytest ended with exit code {code}")
    return count


# Tiers.


def sanitized_unit(preset, options):
    def programs():
        return [f"{name}_test" for name in unit_tests(preset, options)]

    return checked_build(preset, programs, lambda: unit(preset, options))


def checked_build(preset, targets, tests):
    """A tier that was not built has failed, once; its tests do not run."""
    return tests() if build(preset, targets) else Count(failed=1)


def release(options):
    heading("release build, unit tests")
    return checked_build("release", (), lambda: unit("release", options))


def house(options):
    heading("house tests, and the Python client's own")
    return pytest("release", options, "tests/house", "tests/python")


# They wait more than they work.
def side_by_side():
    return len(os.sched_getaffinity(0))


def end_to_end(options):
    heading("end-to-end tests")
    return pytest("release", options, "tests/e2e", "tests/deploy", workers=side_by_side())


# Where most data is moved.
SHORTAGE_TESTS = ("nvmf_io_test.py", "iscsi_digest_test.py", "initiators_test.py")


def shortage(options):
    heading("end-to-end tests with one element in every pool")
    names = [f"tests/e2e/{name}" for name in SHORTAGE_TESTS]
    paths = ["tests/e2e"] if options.nightly else names
    return pytest("release", options, *paths, workers=side_by_side(), POLLUX_POOL_SIZE="1")


def asan_unit(options):
    heading("unit tests under the address and undefined-behaviour sanitizers")
    return sanitized_unit("asan", options)


def asan_end_to_end(options):
    heading("end-to-end tests under the address and undefined-behaviour sanitizers")
    return checked_build("asan", PROGRAMS, lambda: pytest("asan", options, "tests/e2e", workers=side_by_side()))


def tsan_unit(options):
    heading("unit tests under the thread sanitizer")
    return sanitized_unit("tsan", options)


HISTORY_OPERATIONS = 10_000_000
HISTORY_TIMEOUT = 3 * 60 * 60


def histories(options):
    heading("every block's history, over all disks: 10 million I/Os of a new seed, under sanitizers")
    total = Count()
    environment = {
        **SANITIZERS,
        "POLLUX_HISTORY_OPERATIONS": str(HISTORY_OPERATIONS),
        "POLLUX_HISTORY_SEED": str(int(time.time())),
    }
    # What stands still has no threads to look at.
    for preset, pattern in (("asan", "*"), ("tsan", "*Threads*")):
        if not build(preset, ["pollux_drivers_history_test"]):
            total += Count(failed=1)
            continue
        path = ROOT / BUILD_DIR[preset] / "histories.log"
        command = [ROOT / BUILD_DIR[preset] / "bin/pollux_drivers_history_test", f"--gtest_filter={pattern}"]
        with path.open("wb") as log:
            code = run(command, HISTORY_TIMEOUT, log, environment)
        output = path.read_text(errors="replace")
        count = count_cases(output, code)
        say(f"{'ok  ' if code == 0 else 'FAIL'}  histories, {preset}: {count}")
        if code != 0:
            say(f"{output}\n(exit code {code})")
        total += count
    return total


def vm(options):
    heading("a Linux kernel as initiator, and with SSDs to drive, in an emulated machine")
    for script in ("tests/vm/build-guest", "tests/vm/build-noiommu"):
        if run([script], BUILD_TIMEOUT) != 0:
            return Count(failed=1)
    programs = (*PROGRAMS, "pollux_pci_probe", "pollux_nvme_probe")
    return checked_build("release", programs, lambda: pytest("release", options, "tests/vm"))


def vm_stable(options):
    heading("Debian's own kernel as NVMe/TCP host")
    guest = {"POLLUX_VM_CACHE": str(ROOT / "tests/vm/cache/stable"), "POLLUX_VM_KERNEL": "linux-image-amd64"}
    if run(["tests/vm/build-guest"], BUILD_TIMEOUT, env=guest) != 0:
        return Count(failed=1)
    return checked_build("release", PROGRAMS, lambda: pytest("release", options, "tests/vm/nvme_tcp_test.py", **guest))


def two_commands(options):
    heading("the two commands of the README, on a bare Debian")
    good = run(["tests/nightly/two_commands"], PYTEST_TIMEOUT) == 0
    return Count(passed=1) if good else Count(failed=1)


def tiers(options):
    chosen = []
    if options.quick:
        chosen += [release, house]
    if options.asan:
        chosen += [asan_unit, asan_end_to_end]
    if options.tsan:
        chosen += [tsan_unit]
    if options.vm:
        chosen += [vm, vm_stable]
    if options.nightly:
        chosen = [release, house, end_to_end, shortage, asan_unit, asan_end_to_end, tsan_unit, histories]
        chosen += [vm, vm_stable, two_commands]
    return chosen or [release, house, end_to_end, shortage, asan_unit, tsan_unit]


def main():
    parser = argparse.ArgumentParser(
        prog="tests/run",
        description="Builds Pollux and runs its tests. Without an option: what every change must "
        "pass. Options add up. The last line is the total.",
    )
    parser.add_argument("--quick", action="store_true", help="unit tests and house tests only")
    parser.add_argument("--asan", action="store_true", help="unit and end-to-end tests under ASan and UBSan")
    parser.add_argument("--tsan", action="store_true", help="unit tests under TSan")
    parser.add_argument("--vm", action="store_true", help="Linux's initiator, and SSDs, in an emulated machine")
    parser.add_argument("--nightly", action="store_true", help="everything, also what takes long")
    parser.add_argument("-k", metavar="EXPR", help="only tests whose name contains it (or pytest's expression)")
    options = parser.parse_args()

    started = time.monotonic()
    total = Count()
    for tier in tiers(options):
        total += tier(options)
    say(f"\n{(time.monotonic() - started) / 60:.1f} min")
    say(str(total))
    sys.exit(0 if total.failed == 0 and total.passed > 0 else 1)


if __name__ == "__main__":
    main()
