"""The course of the demonstration."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import intake
import xarray as xr

from xr_locality.demo.accesses import Accesses, clear_accesses, count_accesses
from xr_locality.demo.chart import draw_map
from xr_locality.demo.connection_code import connection_code
from xr_locality.demo.page import Page
from xr_locality.demo.questions import Question, difference, lines_of, warming
from xr_locality.demo.stores import REGIONS, demo_stores, write_stores
from xr_locality.errors import ExecutionError
from xr_locality.runtime import formatting
from xr_locality.session import Session
from xr_locality.testing import Testbed

if TYPE_CHECKING:
    from xr_locality.display.plans import Plan
    from xr_locality.display.reports import Report

__all__ = ["run_demo"]

#: The link of 400 Mbit/s between each region and everything outside of it.
_LINK_BYTES_PER_SECOND = 50e6

#: Variables whose chunks are the raw data.
_VARIABLES = ("air_temperature", "tas")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A question that was answered beside its data."""

    #: Lazy.
    asked: xr.Dataset
    answer: xr.Dataset
    plan: Plan
    report: Report
    seconds: float


def run_demo(*, nbytes: int, keep: bool, progress: bool) -> None:
    """Answer two questions beside their data, then the old way, and compare.

    Nothing is left running, however it ends.

    Parameters
    ----------
    nbytes : int
        Bytes of the generated field in each region, at least.
    keep : bool
        Leave the regions up at the end until Ctrl-C, and print the code to
        connect to them.
    progress : bool
        Draw progress bars on the standard error.

    Raises
    ------
    LocalityError
        If anything fails, or if the answers or who read what are not as
        promised.
    """
    page = Page()
    with ExitStack() as stack:
        page.section("Two regions, emulated on this machine")
        with page.timed("Started both"):
            bed = stack.enter_context(
                Testbed(REGIONS, outside_bytes_per_second=_LINK_BYTES_PER_SECOND)
            )
        _show_regions(bed, page)
        catalog = _write_data(bed, page, nbytes=nbytes)
        answered = _answer_all(bed, catalog, page, progress=progress)
        _compare(answered, bed, page)
        _show_what_is_left(bed, page)
        if keep:
            _keep(bed, catalog, page)


def _show_regions(bed: Testbed, page: Page) -> None:
    page.table(
        ("region", "Dask Gateway", "object server"),
        *((str(each.region), each.gateway.address, each.objects.endpoint_url) for each in bed),
    )


def _write_data(bed: Testbed, page: Page, *, nbytes: int) -> Path:
    """Write the data and their catalog, and return the catalog."""
    page.section("Data in each, and a catalog that says where they are")
    stores = demo_stores(nbytes=nbytes)
    with page.timed("Generated and written"):
        urls = write_stores(bed, stores)
    page.table(
        ("entry", "region", "URL", "content"),
        *((store.name, store.region, urls[store.name], store.content) for store in stores),
    )
    # Intake names a catalog.yaml after its directory.
    directory = bed.directory / "demo"
    directory.mkdir()
    catalog = bed.catalog(directory / "catalog.yaml", urls)
    page.say("\ncatalog.yaml, its first entry:")
    page.say(catalog.read_text("utf-8").partition(f"  {stores[1].name}:")[0].rstrip())
    return catalog


def _answer_all(
    bed: Testbed, catalog: Path, page: Page, *, progress: bool
) -> tuple[_Answered, _Answered]:
    """Answer a small question, which starts the clusters, and then a large one."""
    cat = intake.open_catalog(catalog)
    clear_accesses(bed)
    # One worker a region: this machine's cores are all that there is.
    endpoints = bed.endpoints(minimum=1, maximum=1)
    with Session(endpoints, client_region="local", progress=progress) as session:
        page.section("A real question, in plain xarray")
        page.say(
            "How much warmer is 2070–2099 in North America if emissions go on growing\n"
            "(scenario A1B) than if they are cut early (E1)?\n"
        )
        first = _answer(warming, cat, session, page)
        page.say("\nThe answer as a map, in K:\n")
        page.show(draw_map(first.answer.warmer))
        page.say(f"\nand as one number: {float(first.answer.average):.2f} K, averaged by area.")
        page.section("Another, of more data, on the clusters that are up")
        return first, _answer(difference, cat, session, page)


def _answer(question: Question, cat: Any, session: Session, page: Page) -> _Answered:
    """Answer a question beside its data, and show how."""
    name = question.__name__
    page.code(f"{lines_of(question)}\n{name}.locality.explain()")
    asked = question(cat)
    plan = session.plan(asked)
    page.say(f"\n{plan.explain()}\n")
    page.code(f"{name} = {name}.locality.compute()")
    start = time.perf_counter()
    answer = asked.locality.compute()
    seconds = time.perf_counter() - start
    report = session.reports[-1]
    page.say(f"\n{report}")
    return _Answered(asked=asked, answer=answer, plan=plan, report=report, seconds=seconds)


def _compare(answered: tuple[_Answered, ...], bed: Testbed, page: Page) -> None:
    """Do the same work the old way, and show both ways beside each other."""
    page.section("Who read what, by the object servers' own access logs")
    beside = count_accesses(bed, variables=_VARIABLES)
    _show_accesses(beside, page)
    if beside.nbytes_outside:
        raise ExecutionError(
            f"{formatting.nbytes(beside.nbytes_outside)} of chunks were read from outside of the "
            "region that stores them, and none should have been."
        )
    page.say("Each chunk was read by the workers of its own region only.")

    page.section("The old way: the same objects, and all chunks pulled to this machine")
    page.code("warming.compute(), difference.compute()")
    clear_accesses(bed)
    seconds = []
    for each in answered:
        start = time.perf_counter()
        old = each.asked.compute(scheduler="threads")
        seconds.append(time.perf_counter() - start)
        _check_identical(each.answer, old)
    pulled = count_accesses(bed, variables=_VARIABLES)
    _show_accesses(pulled, page)
    page.say("Both answers are the same, bit by bit.")

    page.section("Both ways")
    larger = answered[-1]
    here = larger.plan.baselines["local"]
    moved = sum(each.report.nbytes_moved for each in answered)
    page.table(
        ("", "crossed", "time here", "time between real regions"),
        (
            "the old way",
            formatting.nbytes(pulled.nbytes_outside),
            formatting.seconds(seconds[-1]),
            formatting.seconds(here.seconds),
        ),
        (
            "beside the data",
            formatting.nbytes(moved),
            formatting.seconds(larger.seconds),
            formatting.seconds(larger.plan.seconds),
        ),
        (
            "ratio",
            formatting.ratio(pulled.nbytes_outside, moved),
            formatting.ratio(seconds[-1], larger.seconds),
            formatting.ratio(here.seconds, larger.plan.seconds),
        ),
    )
    link = f"{_LINK_BYTES_PER_SECOND / 1e6:.0f} MB/s"
    page.say(
        "Bytes are those of both questions, as measured. Times are those of the larger one:\n"
        f"here over an emulated link of {link} out of each region; between real ones its bytes\n"
        "alone would be so long on their way, by the plan's table of networks."
    )


def _show_accesses(accesses: Accesses, page: Page) -> None:
    page.table(
        ("chunks in", "read from", "bytes"),
        *(
            (str(region), str(reader), formatting.nbytes(nbytes))
            for (region, reader), nbytes in accesses.nbytes.items()
        ),
    )


def _check_identical(beside: xr.Dataset, old: xr.Dataset) -> None:
    try:
        xr.testing.assert_identical(beside, old)
    except AssertionError as error:
        raise ExecutionError(f"The answers of both ways differ. {error}") from error


def _show_what_is_left(bed: Testbed, page: Page) -> None:
    page.section("What is left on the gateways")
    page.table(
        ("region", "clusters"),
        *((str(each.region), str(len(each.gateway.list_clusters()))) for each in bed),
    )


def _keep(bed: Testbed, catalog: Path, page: Page) -> None:
    """Leave the regions up until Ctrl-C."""
    page.section("Connect from another process")
    page.code(connection_code(bed.config(minimum=1, maximum=1), catalog))
    page.say("\nThe regions are up. Press Ctrl-C to end them.")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
