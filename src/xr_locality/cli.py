"""The command line ``xr-locality``: parses, calls the library, prints."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

from xr_locality.config import Objective, Probing
from xr_locality.errors import LocalityError, LocalityErrorGroup

if TYPE_CHECKING:
    from xr_locality.endpoints.clusters import ClusterFacts

__all__ = ["COMMANDS", "Command", "main"]

_PROGRAM: Final = "xr-locality"
#: What shells answer after Ctrl-C: 128 and the signal's number.
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A subcommand."""

    #: One line for the list of commands.
    summary: str
    #: Gives the parser its arguments.
    add_arguments: Callable[[argparse.ArgumentParser], None]
    #: Does the work; whatever is expensive to import is imported here. May return the exit code.
    run: Callable[[argparse.Namespace], int | None]


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the regions up until Ctrl-C, and print the code to connect to them",
    )
    parser.add_argument("--no-progress", action="store_true", help="draw no progress bars")
    parser.add_argument(
        "--size",
        type=_megabytes,
        default=200,
        metavar="MB",
        help="generate at least this many MB of daily data in each region (default: 200)",
    )


def _run_demo(given: argparse.Namespace) -> None:
    from xr_locality.demo.requirements import check_installed

    check_installed()
    from xr_locality.demo.run import run_demo

    run_demo(nbytes=given.size * 10**6, keep=given.keep, progress=not given.no_progress)


def _megabytes(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of MB above zero")
    return int(text)


def _add_where_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "urls", metavar="URL", nargs="+", type=_url, help="where data are, as fsspec takes it"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list, an object a URL")
    parser.add_argument("--anon", action="store_true", help="sign no request")
    parser.add_argument(
        "--endpoint-url",
        type=_url,
        metavar="URL",
        help="the service, if it is not the provider's own",
    )
    parser.add_argument(
        "--account-name", metavar="NAME", help="the storage account, for az:// without one"
    )
    parser.add_argument(
        "--probe",
        choices=get_args(Probing),
        help="ask clouds where nobody knows, always, or never (default: as configured)",
    )


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
    if given.json:
        print(json.dumps([each.to_dict() for each in found], indent=2))
    else:
        print("\n".join(each.to_text() for each in found))
    return 0 if all(each.region is not None for each in found) else 1


def _add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--probe",
        choices=get_args(Probing),
        help="ask clouds where nobody knows, always, or never (default: as configured)",
    )


def _add_tag_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an Intake catalog on this machine")
    parser.add_argument("--dry-run", action="store_true", help="leave the file as it is")
    _add_policy_arguments(parser)


def _run_tag(given: argparse.Namespace) -> int:
    from xr_locality.catalog import tag_file

    done = tag_file(given.file, dry_run=given.dry_run, probe=given.probe)
    print(json.dumps(done.to_dict(), indent=2) if given.json else done.to_text())
    return 1 if done.unknown or done.problems else 0


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a catalog of Intake's or STAC's")
    _add_policy_arguments(parser)


def _run_check(given: argparse.Namespace) -> int:
    from xr_locality.catalog import check

    checked = check(given.file, probe=given.probe)
    if given.json:
        print(json.dumps([each.to_dict() for each in checked], indent=2))
    else:
        print("\n".join(each.to_text() for each in checked))
        print(f"{sum(each.ok for each in checked)} of {len(checked)} entries are ready")
    return 0 if all(each.ok for each in checked) else 1


def _add_endpoints_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


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
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(map(_endpoint_text, found)) or "no endpoint is configured")
    return 0 if found and all(each["reachable"] for each in found) else 1


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
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run_clusters(given: argparse.Namespace) -> int:
    from xr_locality.session import current_session

    found = current_session().clusters(reap=given.reap)
    if given.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        print("\n".join(map(_cluster_text, found)) or "no cluster")
    return 1 if any(each.is_left_over or each.problem is not None for each in found) else 0


def _cluster_text(found: ClusterFacts) -> str:
    words = {
        "alive": "its process runs",
        "gone": "left over: its process has gone",
        "elsewhere": "started from another machine",
        "unknown": "not started by xr-locality on this machine",
    }
    age = "" if found.seconds is None else f"  {_age(found.seconds)}"
    what = "ended" if found.reaped else words[found.owner]
    if found.name is None and found.seconds is None:
        return f"{found.region}  {found.gateway}  not asked: {found.problem}"
    problem = "" if found.problem is None else f" ({found.problem})"
    return f"{found.region}  {found.name or 'no name'}{age}  {what}{problem}"


def _age(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _url(text: str) -> str:
    from xr_locality.regions.store import Store

    try:
        Store.from_url(text)
    except LocalityError as error:
        # Not argparse's own words for a wrong value, which show it.
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _add_simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        choices=("reduction", "mask-and-difference", "halo", "checkerboard"),
        default="mask-and-difference",
        help="of the synthetic graph (default: %(default)s)",
    )
    parser.add_argument(
        "--regions", type=_count, default=2, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--tasks",
        type=_count,
        default=100_000,
        metavar="N",
        help="about how many (default: %(default)s)",
    )
    parser.add_argument(
        "--bytes",
        type=_nbytes,
        metavar="SIZE",
        help="stored bytes that it reads in all, such as '1 PB' (default: 100 MB a chunk)",
    )
    _add_objective(parser)


def _run_simulate(given: argparse.Namespace) -> None:
    from xr_locality.demo.ways import describe_simulation

    print(
        describe_simulation(
            given.shape,
            n_regions=given.regions,
            n_tasks=given.tasks,
            objective=given.objective,
            stored_nbytes=given.bytes,
        )
    )


def _add_workloads_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tasks", type=_count, default=20_000, metavar="N", help="of each (default: %(default)s)"
    )
    _add_objective(parser)


def _run_workloads(given: argparse.Namespace) -> None:
    from xr_locality.demo.ways import describe_workloads

    print(describe_workloads(n_tasks=given.tasks, objective=given.objective))


def _add_bench_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        metavar="SECTIONS",
        help="some of reductions,notebook,workloads,scale (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="less data, and each way once")
    parser.add_argument(
        "--output",
        default="results.json",
        metavar="FILE",
        help="where to keep the results (default: %(default)s)",
    )


def _run_bench_run(given: argparse.Namespace) -> None:
    from xr_locality.demo.bench import run_bench

    def tell(text: str) -> None:
        print(text, flush=True)

    run_bench(given.only, quick=given.quick, output=given.output, tell=tell)


def _add_bench_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", nargs="+", metavar="FILE", help="that 'bench run' wrote")
    parser.add_argument(
        "--output",
        default="report.html",
        metavar="FILE",
        help="the page to write (default: %(default)s)",
    )


def _run_bench_report(given: argparse.Namespace) -> None:
    from xr_locality.demo.bench import write_report

    write_report(given.results, output=given.output)
    print(f"wrote {given.output}")


def _add_objective(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--objective",
        choices=get_args(Objective),
        default="usd",
        help="what plans keep least (default: %(default)s)",
    )


def _nbytes(text: str) -> int:
    from dask.utils import parse_bytes

    try:
        nbytes = int(parse_bytes(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size") from error
    if nbytes < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return nbytes


def _count(text: str) -> int:
    try:
        count = int(float(text))
    except (OverflowError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return count


#: The subcommands by name, in the order in which to list them.
COMMANDS: Final[Mapping[str, Command]] = {
    "demo": Command(
        summary="compute beside the data of two emulated regions on this machine",
        add_arguments=_add_demo_arguments,
        run=_run_demo,
    ),
    "catalog tag": Command(
        summary="write the regions of its entries into a catalog, as far as they are known",
        add_arguments=_add_tag_arguments,
        run=_run_tag,
    ),
    "catalog check": Command(
        summary="say of each entry whether its region is known and has an endpoint, and who pays",
        add_arguments=_add_check_arguments,
        run=_run_check,
    ),
    "endpoints": Command(
        summary="say which endpoints are configured and answer, and which clusters run there",
        add_arguments=_add_endpoints_arguments,
        run=_run_endpoints,
    ),
    "clusters": Command(
        summary="list the clusters that run for you, and end those whose process has gone",
        add_arguments=_add_clusters_arguments,
        run=_run_clusters,
    ),
    "where": Command(
        summary="say in which region data lie, and how that is known",
        add_arguments=_add_where_arguments,
        run=_run_where,
    ),
    "simulate": Command(
        summary="place a synthetic graph over many regions, and price other ways to do the work",
        add_arguments=_add_simulate_arguments,
        run=_run_simulate,
    ),
    "workloads": Command(
        summary="plan real analyses of declared data, and price other ways to do the work",
        add_arguments=_add_workloads_arguments,
        run=_run_workloads,
    ),
    "bench run": Command(
        summary="measure region against cross-region on an emulated WAN (root on Linux)",
        add_arguments=_add_bench_run_arguments,
        run=_run_bench_run,
    ),
    "bench report": Command(
        summary="make a page of what was measured, with plots",
        add_arguments=_add_bench_report_arguments,
        run=_run_bench_report,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit code: 0, 1 after an error of the library's, 130 after Ctrl-C, or what
        the command says: 1 if a region is not known, an entry has a problem or no
        endpoint, an endpoint does not answer, a cluster is left over.

    Raises
    ------
    SystemExit
        With 2 if the arguments cannot be understood, with 0 after ``--help`` and
        ``--version``.
    """
    given = _parser().parse_args(arguments)
    try:
        name = f"{given.command} {getattr(given, 'subcommand', '')}".rstrip()
        code = COMMANDS[name].run(given) or 0
        sys.stdout.flush()
        return code
    except LocalityError as error:
        print(f"{_PROGRAM}: error: {_describe(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads has enough. What is left unwritten must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return _INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """Shows wrong arguments without what is secret in them."""

    def error(self, message: str) -> NoReturn:
        """End with the usage and a message."""
        from xr_locality.regions.store import without_secrets

        super().error(without_secrets(message))


def _describe(error: LocalityError) -> str:
    # A group's own text ends in a count of what it has just listed.
    text = error.message if isinstance(error, LocalityErrorGroup) else str(error)
    return "\n".join((text, *getattr(error, "__notes__", ())))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM, description="Compute xarray graphs beside their data, across regions."
    )
    version = f"%(prog)s {metadata.version('xr-locality')}"
    parser.add_argument("--version", action="version", version=version)
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    groups: dict[str, Any] = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        among = subparsers
        if second:
            if first not in groups:
                inside = [each for each in COMMANDS if each.startswith(f"{first} ")]
                listed = "; ".join(f"{each} {COMMANDS[each].summary}" for each in inside)
                group = subparsers.add_parser(first, help=listed)
                groups[first] = group.add_subparsers(
                    dest="subcommand", metavar="subcommand", required=True
                )
            among = groups[first]
        command.add_arguments(
            among.add_parser(second or first, help=command.summary, description=command.summary)
        )
    return parser
