"""The sdist and the wheel hold what they should and nothing else, and the wheel installs.

They are built as pip would build them, the wheel out of the sdist, from a copy of what git would
commit, so that no forgotten build folder can help or harm. Nothing here needs the network.
"""

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

import pytest

import gserver

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"api": "gserver/api", "websocket": "gserver/websocket"}
STEM = f"gserver-{gserver.__version__}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / ".git").exists() or shutil.which("git") is None,
        reason="what belongs to the project is read from git",
    ),
]


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command printed; its errors are in the report if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Built:
    """What came out of one build, by path inside the archive, and what it was built from."""

    source: Path
    files: frozenset[str]
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
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source)
    run(*command, cwd=folder)
    (sdist_path,) = (folder / "dist").glob("*.tar.gz")
    (wheel_path,) = (folder / "dist").glob("*.whl")
    with tarfile.open(sdist_path) as sdist, zipfile.ZipFile(wheel_path) as wheel:
        members = tuple(sdist.getmembers())
        return Built(source, files, members, wheel_path, frozenset(wheel.namelist()))


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
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "-q", "--no-deps", "--no-index", built.wheel_path, cwd=tmp_path)

    script = tmp_path / "venv" / "bin" / "gserver"
    assert "gserver.__main__" in script.read_text("utf-8")
    assert script.stat().st_mode & 0o111

    check = (
        "import gserver.api, importlib.metadata;"
        "print(gserver.__version__, importlib.metadata.version('gserver'))"
    )
    versions = run(python, "-I", "-c", check, cwd=tmp_path)
    assert versions.split() == [gserver.__version__] * 2
