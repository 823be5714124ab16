"""The version of this package, as it was installed."""

from importlib.metadata import PackageNotFoundError, version


def engine_version() -> str:
    try:
        return version("diffir-video")
    except PackageNotFoundError:
        return "(not installed)"
