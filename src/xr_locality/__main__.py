"""``python -m xr_locality``: the command line."""

from xr_locality.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
