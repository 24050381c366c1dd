"""Private names of dask's and pyarrow's parquet: each is what the library takes it for."""

from __future__ import annotations

from pathlib import Path

import pytest

from xr_locality.compat.parquet import fragment_of, packed_fragment, s3_endpoint

pytest.importorskip("pyarrow")


def test_packed_fragment_names_its_file(tmp_path: Path) -> None:
    """A pickled fragment is packed, and names path and size of its file."""
    import pickle

    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet
    from dask.dataframe.dask_expr.io.parquet import FragmentWrapper

    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({"a": [1, 2]}), path)
    (fragment,) = pa.dataset.dataset(str(path)).get_fragments()
    wrapper = FragmentWrapper(fragment, filesystem=fragment.filesystem)
    assert fragment_of(wrapper)[0] is fragment
    packed = packed_fragment(pickle.loads(pickle.dumps(wrapper)))
    assert packed.path == str(path)
    assert packed.nbytes in (None, path.stat().st_size)


def test_s3_filesystem_names_its_endpoint() -> None:
    """The endpoint has a scheme, and is None for AWS's own."""
    from pyarrow.fs import S3FileSystem

    anonymous = {"anonymous": True, "region": "us-east-1"}
    fs = S3FileSystem(endpoint_override="127.0.0.1:9", scheme="http", **anonymous)
    assert s3_endpoint(fs) == "http://127.0.0.1:9"
    assert s3_endpoint(S3FileSystem(**anonymous)) is None
