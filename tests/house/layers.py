"""Reads the arrows between the folders from the top CMakeLists.txt, and holds #include lines to them."""

import dataclasses
import pathlib
import re

# The arrows of the whole, which no line of a CMakeLists.txt can widen: what a top folder may use.
ARROWS = {
    "core": {"core"},
    "drivers": {"core", "drivers"},
    "targets": {"core", "targets"},
    "proto": {"proto"},
    "rpc": {"core", "proto", "rpc"},
    "service": {"core", "drivers", "targets", "proto", "rpc", "service"},
    "cli": {"core", "drivers", "proto", "rpc", "cli"},
}

# Third-party libraries by the headers that they have, and the name under which LINKS lists them.
# The messages have no LINKS of their own: who uses the folder proto sees Protobuf.
PACKAGES = {
    "abseil": r"absl/",
    "protobuf": r"google/protobuf/",
    "jsoncpp": r"json/",
    "sqlite": r"sqlite3\.h$",
    "dpdk": r"rte_\w+\.h$",
    "uring": r"liburing\.h$|liburing/",
    "grpc": r"grpc/|grpcpp/",
    "googletest": r"gtest/|gmock/",
    "benchmark": r"benchmark/",
    "rbd": r"rbd/|rados/",
    "openssl_tls": r"openssl/(ssl|err|x509v3)\.h$",
    "openssl": r"openssl/(?!ssl|err|x509v3)",
    "isal": r"isa-l",
}

# Headers without a folder that the C library brings; C++'s own have no suffix.
SYSTEM = re.compile(
    r"(sys|linux|netinet|net|arpa|asm|bits)/[\w/.-]+$|[a-z_]+$|"
    r"(byteswap|cpuid|cxxabi|dirent|dlfcn|elf|endian|errno|execinfo|fcntl|getopt|glob|grp|ifaddrs|"
    r"emmintrin|immintrin|libgen|limits|malloc|math|netdb|nmmintrin|poll|pthread|pwd|sched|semaphore|signal|"
    r"stdbool|stddef|stdint|stdio|stdlib|string|strings|syslog|termios|time|ucontext|unistd|wmmintrin|x86intrin)\.h$"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


@dataclasses.dataclass
class Module:
    folder: str
    uses: list
    links: list


def modules(root):
    """The modules of the top CMakeLists.txt by folder. proto is one; a program is part of the folder
    whose main it is."""
    text = re.sub(r"#.*", "", (root / "CMakeLists.txt").read_text())
    found = {}
    for command, body in re.findall(r"\b(pollux_library|pollux_proto)\(([^)]*)\)", text):
        words = body.split()
        lists = {"": [], "USES": [], "LINKS": []}
        into = lists[""]
        for word in words:
            if word in ("USES", "LINKS"):
                into = lists[word]
            else:
                into.append(word)
        (folder,) = lists[""]
        links = ["protobuf"] if command == "pollux_proto" else lists["LINKS"]
        found[folder] = Module(folder, lists["USES"], links)
    return found


def closure(found, folder):
    """The folder itself and everything that its USES reach."""
    reached, todo = set(), [folder]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += found[name].uses
    return reached


def graph_violations(found):
    """What is wrong with the arrows themselves."""
    wrong = []
    for module in found.values():
        top = module.folder.split("/")[0]
        for used in module.uses:
            if used not in found:
                wrong.append(f"CMakeLists.txt: {module.folder} uses {used}, which is no module")
            elif used.split("/")[0] not in ARROWS.get(top, set()):
                wrong.append(f"CMakeLists.txt: {module.folder} may not use {used}")
    if wrong:
        return wrong
    for module in found.values():
        if any(module.folder in closure(found, used) for used in module.uses):
            wrong.append(f"CMakeLists.txt: {module.folder} is part of a cycle")
    for package in {name for module in found.values() for name in module.links} - {"abseil"}:
        owners = [module.folder for module in found.values() if package in module.links]
        if len(owners) > 1:
            wrong.append(f"CMakeLists.txt: {package} is linked by {' and '.join(owners)}: one may")
    return wrong


def module_of(found, path):
    """The folder whose module a file is part of, or None. A library's files lie in its folder itself;
    a program's main lies in FOLDER/main."""
    folder = str(path.parent)
    if path.parts[:2] == ("pollux", "v1"):  # Generated.
        return "proto"
    if folder.endswith("/main"):
        folder = folder[: -len("/main")]
    return folder if folder in found else None


def include_violations(root, paths):
    """What is wrong with the #include lines of `paths`, relative to `root`."""
    found = modules(root)
    wrong = []
    for path in paths:
        if path.parts[0] not in ARROWS:
            continue  # tests and cmake may include what they like.
        folder = module_of(found, path)
        if folder is None:
            wrong.append(f"{path}: lies in no folder of the top CMakeLists.txt")
            continue
        usable = closure(found, folder)
        text = (root / path).read_text()
        for match in INCLUDE.finditer(text):
            line = text.count("\n", 0, match.end()) + 1
            reason = _objection(root, found, folder, usable, match.group(1) or match.group(2))
            if reason:
                wrong.append(f"{path}:{line}: {match.group(0).strip()}: {reason}")
    return wrong


def _objection(root, found, folder, usable, header):
    for package, pattern in PACKAGES.items():
        if re.match(pattern, header):
            return _package_objection(found, folder, usable, package)
    if SYSTEM.match(header):
        return None
    included = module_of(found, pathlib.PurePath(header))
    if included is None:
        return "neither ours, nor the system's, nor a package of tests/house/layers.py"
    if included not in usable:
        return f"{folder} does not use {included}"
    return None


def _package_objection(found, folder, usable, package):
    if package == "abseil":  # core/status.h is everybody's vocabulary.
        return None
    if package == "protobuf":
        return None if "proto" in usable else f"{folder} does not use proto"
    owners = [module.folder for module in found.values() if package in module.links]
    if folder in owners:
        return None
    return f"{package} belongs to {' and '.join(owners) or 'no module'}"
