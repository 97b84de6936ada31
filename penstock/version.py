"""Which version this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("penstock")
except PackageNotFoundError:
    VERSION = "0.0.0+source"
