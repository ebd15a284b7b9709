"""tests/run counts what its programs say, whatever becomes of them."""

import pathlib
import sys
import time

import project

sys.path.insert(0, str(project.ROOT / "tests"))
import tiers  # noqa: E402

GOOD = """[ RUN      ] Ring.Wraps
[       OK ] Ring.Wraps (0 ms)
[ RUN      ] Ring.Locks
ring_test.cc:12: Skipped
[  SKIPPED ] Ring.Locks (3 ms)
[ RUN      ] All/Sizes.Fit/0
a line without its end[       OK ] All/Sizes.Fit/0 (1 ms)
[==========] 3 tests from 2 test suites ran. (4 ms total)
[  PASSED  ] 2 tests.
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] Ring.Locks
"""
BAD = """[ RUN      ] Ring.Wraps
[  FAILED  ] Ring.Wraps (0 ms)
[ RUN      ] All/Sizes.Fit/0
[  FAILED  ] All/Sizes.Fit/0, where GetParam() = 7 (0 ms)
[  FAILED  ] 2 tests, listed below:
[  FAILED  ] Ring.Wraps
[  FAILED  ] All/Sizes.Fit/0, where GetParam() = 7
"""


def running(word):
    """Whether some process has the word on its command line."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                return True
        except OSError:
            pass  # It ended meanwhile.
    return False


def test_each_case_counts_once():
    assert tiers.count_cases(GOOD, 0) == tiers.Count(2, 0, 1)
    assert tiers.count_cases(BAD, 1) == tiers.Count(0, 2, 0)


def test_a_program_that_dies_after_good_cases_has_failed():
    died = GOOD.partition("[ RUN      ] Ring.Locks")[0] + "[ RUN      ] Ring.Locks\n"
    assert tiers.count_cases(died, -11) == tiers.Count(1, 1, 0)
    assert tiers.count_cases(GOOD, 66) == tiers.Count(2, 1, 1)


def test_a_command_that_hangs_ends_with_all_its_children(tmp_path):
    left = tmp_path / "left"
    with open(tmp_path / "log", "wb") as log:
        assert tiers.run(["bash", "-c", f"(sleep 3; touch {left}) & wait"], 0.2, log) == 124
    # A process that was killed is gone as soon as it gets the core once more.
    give_up = time.monotonic() + 60
    while running(str(left)) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not running(str(left))
    assert not left.exists()


def test_the_total_has_the_form_that_is_promised():
    assert str(tiers.Count(12, 3, 1)) == "12 passed, 3 failed, 1 skipped"
