"""What a package of public material is: where its files come from, and their hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Group: TypeAlias = Literal["photos", "clips", "footage", "eval"]
GROUPS: tuple[Group, ...] = get_args(Group)
PackageKind: TypeAlias = Literal["deb", "npm", "pypi-sdist", "pypi-wheel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One file.

    name: what it is called in its group's folder. inside: its path in the package. licence: SPDX where it has
    a name there. sha256: of the file, in hexadecimal.
    """

    name: str
    inside: str
    licence: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package that carries material; `version` is the one the hashes were taken from."""

    kind: PackageKind
    name: str
    version: str
    group: Group
    files: tuple[Material, ...]
