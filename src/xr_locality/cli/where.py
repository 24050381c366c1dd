"""``where``: in which region data lie."""

from __future__ import annotations

import argparse
from typing import Final

from xr_locality.cli.command import Command
from xr_locality.cli.options import add_json, add_probe, url
from xr_locality.cli.output import PROBLEM, SUCCESS, print_found

__all__ = ["WHERE"]


def _add_where_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "urls", metavar="URL", nargs="+", type=url, help="where data are, as fsspec takes it"
    )
    add_json(parser, what="a JSON list, an object a URL")
    parser.add_argument("--anon", action="store_true", help="sign no request")
    parser.add_argument(
        "--endpoint-url",
        type=url,
        metavar="URL",
        help="the service, if it is not the provider's own",
    )
    parser.add_argument(
        "--account-name", metavar="NAME", help="the storage account, for az:// without one"
    )
    add_probe(parser)


def _run_where(given: argparse.Namespace) -> int:
    from xr_locality import api

    options = {
        "anon": given.anon or None,
        "endpoint_url": given.endpoint_url,
        "account_name": given.account_name,
    }
    found = api.where(
        *given.urls,
        storage_options={name: value for name, value in options.items() if value is not None},
        probe=given.probe,
    )
    print_found(
        [each.to_dict() for each in found],
        as_json=given.json,
        text=lambda: "\n".join(each.to_text() for each in found),
    )
    return SUCCESS if all(each.region is not None for each in found) else PROBLEM


WHERE: Final = Command(
    summary="say in which region data lie, and how that is known",
    add_arguments=_add_where_arguments,
    run=_run_where,
)
