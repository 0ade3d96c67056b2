"""The version, as the package metadata has it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("svsim")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"
