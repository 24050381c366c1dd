"""Named programs as people write them, over two small datasets in two regions."""

from support.realistic.catalogue import PROGRAMS
from support.realistic.data import REGIONS, open_models, write_models
from support.realistic.model import RealisticProgram

__all__ = ["PROGRAMS", "REGIONS", "RealisticProgram", "open_models", "write_models"]
