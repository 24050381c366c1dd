"""Intake 2 readers, by the names of this package; see :mod:`xr_locality_readers`."""

from xr_locality_readers import IcechunkReader, KerchunkReader, LocalityReader, NetCDFReader

__all__ = ["IcechunkReader", "KerchunkReader", "LocalityReader", "NetCDFReader"]
