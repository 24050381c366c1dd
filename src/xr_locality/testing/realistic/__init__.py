"""Named programs as people write them, over two small datasets in two regions."""

from xr_locality.testing.realistic.catalogue import PROGRAMS
from xr_locality.testing.realistic.data import REGIONS, open_models, write_models
from xr_locality.testing.realistic.model import RealisticProgram

__all__ = ["PROGRAMS", "REGIONS", "RealisticProgram", "open_models", "write_models"]
