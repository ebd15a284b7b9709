"""Who logs can be flagged: every component that some file names is one of log_set_flag's."""

import re

import project

CALL = re.compile(r'\bLog(?:Error|Warning|Notice|Info|Debug)\(\s*"(\w+)"')


def test_each_component_that_logs_is_a_flag():
    listed = re.search(r"kLogComponents = \{(.*?)\};", (project.ROOT / "core/log.cc").read_text(), re.S)
    flags = set(re.findall(r'"(\w+)"', listed[1]))
    used = {
        f"{path}: {component}"
        for path in project.cpp_files()
        if path.parts[0] != "tests"
        for component in CALL.findall((project.ROOT / path).read_text())
        if component not in flags
    }
    assert not used, "\n".join(sorted(used))
