"""Private names of other projects, one module for each project.

Only this package, and ``execution/remote/compat.py`` for code that is shipped to clusters,
may use a name that another project begins with an underscore, or a layout that it does not
document. The docstring of each module states three things:

- why there is no public way, with the upstream issue if there is one;
- the version of the project that the names were last verified with;
- what happens when a name is gone. Reading *degrades* to a slower way, or the value is
  *unknown* with one warning, or the use is *refused* with a
  :class:`~xr_locality.errors.MissingDependencyError` that names the versions to install.

``import xr_locality`` works in all three cases: see :mod:`xr_locality.compat.private_names`.
"""
