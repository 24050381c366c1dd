"""``endpoints`` and ``clusters``: what is configured, answers and runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from xr_locality.cli.command import Command
from xr_locality.cli.options import add_json
from xr_locality.cli.output import PROBLEM, SUCCESS, print_found
from xr_locality.errors import LocalityError

if TYPE_CHECKING:
    from xr_locality.endpoints.clusters import ClusterFacts

__all__ = ["CLUSTERS", "ENDPOINTS"]


def _add_endpoints_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def _run_endpoints(given: argparse.Namespace) -> int:
    from xr_locality.session import current_session

    session = current_session()
    found = []
    for region, facts in session.inspect().items():
        failed = str(facts) if isinstance(facts, LocalityError) else None
        answer = None if isinstance(facts, LocalityError) else facts
        found.append(
            {
                "region": str(region),
                "endpoint": session.describe(region),
                "reachable": answer is not None,
                "problem": failed,
                "versions": {} if answer is None else dict(answer.versions),
                "clusters": answer and answer.clusters,
            }
        )
    print_found(
        found,
        as_json=given.json,
        text=lambda: "\n".join(map(_endpoint_text, found)) or "no endpoint is configured",
    )
    return SUCCESS if found and all(each["reachable"] for each in found) else PROBLEM


def _endpoint_text(found: Mapping[str, Any]) -> str:
    lines = [f"{found['region']}  {found['endpoint']}"]
    if found["problem"] is not None:
        return "\n".join([*lines, f"  not usable: {found['problem']}"])
    if not found["reachable"]:
        return "\n".join([*lines, "  only named: nothing to reach"])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines.append(f"  reachable{versions and f': {versions}'}")
    if found["clusters"] is not None:
        lines.append(f"  clusters: {', '.join(found['clusters']) or 'none'}")
    return "\n".join(lines)


def _add_clusters_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reap",
        action="store_true",
        help="end those whose process has gone, on this machine; no other is touched",
    )
    parser.add_argument(
        "--forget",
        action="append",
        default=[],
        metavar="NAME",
        help="strike a cluster off this machine's list, without stopping it: whether it still "
        "runs, and costs money, is left unknown; may be given several times",
    )
    parser.add_argument(
        "--forget-unreachable",
        action="store_true",
        help="strike off all whose gateway is not configured any more or does not answer, in the "
        "same way; those of processes that run on this machine stay",
    )
    add_json(parser)


def _run_clusters(given: argparse.Namespace) -> int:
    from xr_locality.session import current_session

    found = current_session().clusters(
        reap=given.reap, forget=given.forget, forget_unreachable=given.forget_unreachable
    )
    print_found(
        [asdict(each) for each in found],
        as_json=given.json,
        text=lambda: "\n".join(map(_cluster_text, found)) or "no cluster",
    )
    return PROBLEM if any(each.wants_care for each in found) else SUCCESS


def _cluster_text(found: ClusterFacts) -> str:
    words = {
        "alive": "its process runs",
        "gone": "left over: its process has gone",
        "elsewhere": "started from another machine",
        "unknown": "not started by xr-locality on this machine",
    }
    age = "" if found.seconds is None else f"  {_age(found.seconds)}"
    if found.forgotten:
        return (
            f"{found.region}  {found.name or 'no name'}{age}  forgotten: not stopped, and it "
            f"may still run; ask the operators of {found.gateway}"
        )
    what = "ended" if found.reaped else words[found.owner]
    if found.name is None and found.seconds is None:
        return f"{found.region}  {found.gateway}  not asked: {found.problem}"
    problem = "" if found.problem is None else f" ({found.problem})"
    return f"{found.region}  {found.name or 'no name'}{age}  {what}{problem}"


def _age(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


ENDPOINTS: Final = Command(
    summary="say which endpoints are configured and answer, and which clusters run there",
    add_arguments=_add_endpoints_arguments,
    run=_run_endpoints,
)

CLUSTERS: Final = Command(
    summary="list the clusters that run for you, and end those whose process has gone",
    add_arguments=_add_clusters_arguments,
    run=_run_clusters,
)
