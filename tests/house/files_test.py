"""What holds for every file of the project: format, scripts, sizes, nothing left undone."""

import py_compile
import re
import shutil
import subprocess
import warnings

import project

FILE_BYTES_MAX = 512 * 1024
# One sitting. Longer files are shown, not refused: some tables are long.
SOURCE_LINES = 600
FORMAT_VERSION = 14


def text_of(path):
    """The text of a file, or "" when it is none."""
    data = (project.ROOT / path).read_bytes()
    return "" if b"\0" in data else data.decode(errors="replace")


def first_lines():
    """The first line of every file that is a script, by path."""
    lines = {path: text_of(path).partition("\n")[0] for path in project.files()}
    return {path: line for path, line in lines.items() if line.startswith("#!")}


def test_cpp_files_have_the_format_of_clang_format():
    command = shutil.which(f"clang-format-{FORMAT_VERSION}")
    assert command, f"clang-format-{FORMAT_VERSION} is missing: run deploy/install-packages test"
    result = subprocess.run(
        [command, "--dry-run", "-Werror", "--ferror-limit=3", *project.cpp_files()],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_nothing_is_left_to_do():
    marker = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    left = [
        f"{path}:{number}: {line.strip()}"
        for path in project.files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if marker.search(line)
    ]
    assert not left, "\n".join(left)


def test_no_file_is_large():
    large = [path for path in project.files() if (project.ROOT / path).stat().st_size > FILE_BYTES_MAX]
    assert not large


def test_long_source_files_are_shown():
    for path in project.files():
        if path.suffix in (".cc", ".h", ".py", ".proto"):
            lines = text_of(path).count("\n")
            if lines > SOURCE_LINES:
                warnings.warn(f"{path} has {lines} lines")


def test_scripts_can_be_run_and_nothing_else_can():
    runnable = {path for path in project.files() if (project.ROOT / path).stat().st_mode & 0o111}
    assert runnable ^ set(first_lines()) == set()


def test_shell_scripts_parse():
    for path, line in first_lines().items():
        if "sh" in line.split("/")[-1]:
            result = subprocess.run(
                ["bash", "-n", path], cwd=project.ROOT, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, result.stderr


def test_python_files_compile(tmp_path):
    for path in {path for path in project.files() if path.suffix == ".py"} | {
        path for path, line in first_lines().items() if "python" in line
    }:
        py_compile.compile(str(project.ROOT / path), cfile=str(tmp_path / "out.pyc"), doraise=True)
