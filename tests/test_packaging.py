"""The sdist and the wheel hold what they should and nothing else, and the wheel installs.

They are built as pip would build them, the wheel out of the sdist, from a copy of what git would
commit, so that no forgotten build folder can help or harm. Nothing here needs the network. What
cannot be compiled is left out, and the installation succeeds all the same.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from configparser import ConfigParser
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

import pytest

import gserver
from conftest import need
from test_compiled import MODULES, PURE

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"api": "gserver/api", "websocket": "gserver/websocket"}
STEM = f"gserver-{gserver.__version__}"
BINDING = "gserver.http2.nghttp2"
COMPILED = {*MODULES, "gserver.syscalls", "gserver.websocket.masking"}
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / ".git").exists() or shutil.which("git") is None,
        reason="what belongs to the project is read from git",
    ),
    pytest.mark.skipif(PURE, reason="what is built does not depend on what is tested"),
]


def run(*command: str | Path, cwd: Path, **variables: str | Path) -> str:
    """Return what a command printed; its errors are in the report if it fails."""
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Built:
    """What came out of one build, by path inside the archive, and what it was built from."""

    source: Path
    files: frozenset[str]
    unpacked: Path
    sdist: tuple[tarfile.TarInfo, ...]
    wheel_path: Path
    wheel: frozenset[str]

    @property
    def sdist_files(self) -> set[str]:
        paths = (PurePosixPath(member.name) for member in self.sdist if not member.isdir())
        return {str(path.relative_to(STEM)) for path in paths}

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.wheel_path) as wheel:
            return wheel.read(name)

    @property
    def metadata(self) -> Message:
        return BytesParser().parsebytes(self.read(f"{STEM}.dist-info/METADATA"))


def copy_project(target: Path) -> frozenset[str]:
    """Copy what git would commit, links as links, and return its paths."""
    listing = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT)
    names = {name for name in listing.split("\0") if name}
    present = {name for name in names if (ROOT / name).exists() or (ROOT / name).is_symlink()}
    for name in present:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, path, follow_symlinks=False)
    return frozenset(present)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    files = copy_project(source)
    build = (sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, source)
    run(*build, cwd=folder)
    (sdist_path,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist_path) as sdist:
        members = tuple(sdist.getmembers())
        sdist.extractall(folder)
    unpacked = folder / STEM
    run(*PIP, "wheel", *OFFLINE, "-w", folder, unpacked, cwd=folder, CFLAGS="-O0")
    (wheel_path,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel_path) as wheel:
        return Built(source, files, unpacked, members, wheel_path, frozenset(wheel.namelist()))


@pytest.mark.parametrize(("link", "target"), LINKS.items())
def test_the_links_at_the_root_are_relative_and_lead_to_the_packages(
    built: Built, link: str, target: str
) -> None:
    assert (built.source / link).is_symlink()
    assert str((built.source / link).readlink()) == target
    assert (built.source / link / "__init__.py").is_file()


def test_the_wheel_holds_gserver_and_nothing_else_at_its_top(built: Built) -> None:
    tops = {PurePosixPath(name).parts[0] for name in built.wheel}
    assert tops == {"gserver", f"{STEM}.dist-info"}


def test_the_wheel_holds_every_module_of_the_packages(built: Built) -> None:
    modules = {name for name in built.files if name.startswith("gserver/") and name.endswith(".py")}
    for package in ("gserver", "gserver/api", "gserver/websocket"):
        assert f"{package}/__init__.py" in modules
    assert {name for name in built.wheel if name.endswith(".py")} == modules
    assert "gserver/py.typed" in built.wheel


def test_the_sdist_holds_what_the_repository_holds(built: Built) -> None:
    """All of it but the links and what only serves the repository itself."""
    project = {name for name in built.files if not name.startswith(".") and name not in LINKS}
    made = {name for name in built.sdist_files if name.startswith("gserver.egg-info/")}
    assert built.sdist_files - made - {"PKG-INFO"} == project
    assert {"README.rst", "LICENSE", "CHANGELOG.rst", "docs/conf.py"} <= built.sdist_files
    tops = {PurePosixPath(name).parts[0] for name in built.sdist_files}
    assert {"docs", "tests", "examples"} <= tops


def test_the_sdist_holds_what_is_compiled_and_nothing_that_was(built: Built) -> None:
    sources = {name for name in built.sdist_files if name.startswith("gserver/")}
    types = {name for name in sources if name.endswith(".pxd")}
    assert types == {
        "gserver/http2/libnghttp2.pxd",
        "gserver/inplace.pxd",
        *(f"{name.replace('.', '/')}.pxd" for name in MODULES),
    }
    for binding in ("gserver/http2/nghttp2", "gserver/syscalls", "gserver/websocket/masking"):
        assert {f"{binding}.pyx", f"{binding}.pyi"} <= sources
    assert [name for name in sources if name.endswith((".c", ".so"))] == []


def compiled(names: Iterable[str]) -> set[str]:
    """Return the modules of which these are the compiled forms."""
    paths = (PurePosixPath(name) for name in names if name.endswith(".so"))
    return {".".join((*path.parts[:-1], path.name.partition(".")[0])) for path in paths}


def need_libnghttp2() -> None:
    need("cc")
    need("pkg-config")
    if subprocess.run(["pkg-config", "--exists", "libnghttp2 >= 1.49"], check=False).returncode:
        assert not os.environ.get("CI"), "libnghttp2-dev is not installed"
        pytest.skip("libnghttp2-dev is not installed")


def test_the_wheel_holds_the_compiled_modules_and_not_what_they_were_made_of(built: Built) -> None:
    need_libnghttp2()
    assert compiled(built.wheel) == {*COMPILED, BINDING}
    assert "gserver/http2/nghttp2.pyi" in built.wheel
    assert [name for name in built.wheel if name.endswith((".c", ".pxd", ".pyx"))] == []


def test_the_sdist_holds_no_file_twice_and_no_link(built: Built) -> None:
    assert [member.name for member in built.sdist if member.issym() or member.islnk()] == []
    assert [name for name in built.sdist_files if PurePosixPath(name).parts[0] in LINKS] == []


def test_the_metadata_says_what_setup_cfg_says(built: Built) -> None:
    metadata = built.metadata
    assert metadata["Name"] == "gserver"
    assert metadata["Version"] == gserver.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Description-Content-Type"] == "text/x-rst"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.rst").read_text("utf-8").strip()
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = set(setup["options.extras_require"])
    assert set(metadata.get_all("Provides-Extra", [])) == extras


def test_the_installed_wheel_brings_the_command_and_an_api_that_needs_nothing(
    built: Built, tmp_path: Path
) -> None:
    """Into an environment without any dependency: gserver.api must work there."""
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(*PIP, "--python", python, "install", *OFFLINE, built.wheel_path, cwd=tmp_path)

    script = tmp_path / "venv" / "bin" / "gserver"
    assert "gserver.__main__" in script.read_text("utf-8")
    assert script.stat().st_mode & 0o111

    check = (
        "import gserver.api, importlib.metadata;"
        "print(gserver.__version__, importlib.metadata.version('gserver'))"
    )
    versions = run(python, "-I", "-c", check, cwd=tmp_path)
    assert versions.split() == [gserver.__version__] * 2


def install(built: Built, folder: Path, anew: str, **variables: str | Path) -> tuple[str, set[str]]:
    """Install the unpacked sdist as `pip install .` does.

    Of what the fixture has compiled, the modules that fit the pattern are compiled once more.
    Returns what the command says of itself, and the modules that were compiled.
    """
    tree, target = folder / "tree", folder / "target"
    shutil.copytree(built.unpacked, tree)
    for path in tree.glob(f"build/lib*/**/{anew}.*.so"):
        path.unlink()
    run(*PIP, "install", *OFFLINE, "--target", target, tree, cwd=folder, **variables)
    version = run(sys.executable, "-m", "gserver", "--version", cwd=folder, PYTHONPATH=target)
    return version, compiled(str(path.relative_to(target)) for path in target.rglob("*.so"))


def test_without_libnghttp2_the_rest_is_compiled(built: Built, tmp_path: Path) -> None:
    need("cc")
    # The compiler looks there before it looks at the system's.
    header = tmp_path / "include" / "nghttp2" / "nghttp2.h"
    header.parent.mkdir(parents=True)
    header.write_text("#error it is not installed\n")
    version, modules = install(built, tmp_path, "nghttp2", CPATH=tmp_path / "include")
    assert re.search(r"httptools [\d.]+; HTTP/2: h2 4\.[\d.]+ \(for a faster one", version)
    assert "install libnghttp2-dev" in version
    assert modules == COMPILED


def test_without_a_compiler_everything_is_python(built: Built, tmp_path: Path) -> None:
    version, modules = install(built, tmp_path, "*", CC="no-such-compiler")
    assert "(pure Python; a C compiler at installation makes it faster)" in version
    assert re.search(r"HTTP/2: h2 4\.[\d.]+ \(for a faster one install libnghttp2-dev", version)
    assert modules == set()
