"""Azure's datacentres, by the code that the names of its storage servers start with.

DNS calls an account after the servers that keep it, such as
``blob.ams20prdstr02a.store.core.windows.net``. The codes are mostly those of airports.
Azure lists some of its datacentres (``DataCenterCode`` of the Data Box API, 2025-07-01: of
those here am, ams, auh, bl, bn, bom, by, cbr, ch, cpq, cwl, cys, dsm, dub, dxb, fra, hkg,
jnb, lon, maa, mel, mnz, mwh, osa, par, pnq, pus, sel, sg, sin, sn, svg, syd, tyo, yqb, yto,
zrh), and the city of each region, but says of none which region it belongs to: what they
say is a guess. Codes that several regions of a city may share are left out.
"""

from __future__ import annotations

import re
from typing import Final

from xr_locality.regions.region import Region

__all__ = ["region_of_storage_host"]

_HOST: Final = re.compile(
    r"(?:blob|dfs|web|z\d+)\.(?P<code>[a-z]{2,3})\d*[a-z]?prd[a-z0-9]*\.store\.core\.windows\.net"
)
_CODES: Final = {
    "am": "westeurope",
    "ams": "westeurope",
    "auh": "uaecentral",
    "bl": "eastus",
    # Of Azure's open datasets, which are in East US as their pages say.
    "blz": "eastus",
    "bm": "westindia",
    "bn": "eastus2",
    "bnz": "eastus2",
    "bom": "westindia",
    "by": "westus",
    "cbr": "australiacentral",
    "ch": "northcentralus",
    "chi": "northcentralus",
    "cpq": "brazilsouth",
    "cpt": "southafricawest",
    "cq": "brazilsouth",
    "cw": "ukwest",
    "cwl": "ukwest",
    "cy": "westcentralus",
    "cys": "westcentralus",
    "dm": "centralus",
    "dsm": "centralus",
    "dub": "northeurope",
    "dxb": "uaenorth",
    "fra": "germanywestcentral",
    "gva": "switzerlandwest",
    "gvx": "swedencentral",
    "hk": "eastasia",
    "hkg": "eastasia",
    "jnb": "southafricanorth",
    "lon": "uksouth",
    "ma": "southindia",
    "maa": "southindia",
    "mel": "australiasoutheast",
    "ml": "australiasoutheast",
    "mnz": "eastus",
    "mrs": "francesouth",
    "mwh": "westus2",
    "osa": "japanwest",
    "osl": "norwayeast",
    "par": "francecentral",
    "phx": "westus3",
    "pn": "centralindia",
    "pnq": "centralindia",
    "ps": "koreasouth",
    "pus": "koreasouth",
    "sat": "southcentralus",
    "se": "koreacentral",
    "sel": "koreacentral",
    "sg": "southeastasia",
    "sin": "southeastasia",
    "sn": "southcentralus",
    "svg": "norwaywest",
    "sy": "australiaeast",
    "syd": "australiaeast",
    "tyo": "japaneast",
    "waw": "polandcentral",
    "yq": "canadaeast",
    "yqb": "canadaeast",
    "yt": "canadacentral",
    "yto": "canadacentral",
    "zrh": "switzerlandnorth",
}


def region_of_storage_host(name: str) -> Region | None:
    """Guess the region of a storage server from its name.

    Parameters
    ----------
    name : str
        As DNS has it.

    Returns
    -------
    Region or None
        None for a name of another kind, or a code that is not known.

    Examples
    --------
    >>> region_of_storage_host("blob.ams20prdstr02a.store.core.windows.net")
    Region('azure:westeurope')
    """
    match = _HOST.fullmatch(name.rstrip(".").lower())
    region = None if match is None else _CODES.get(match["code"])
    return None if region is None else Region(provider="azure", name=region)
