from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given, settings

from xr_locality.execution.machine import (
    Cancel,
    Computed,
    Event,
    Failed,
    Fetched,
    Finish,
    Gather,
    Gathered,
    Instruction,
    PartitionKeys,
    Release,
    RunMachine,
    Submit,
)
from xr_locality.regions.model import Region
from xr_locality.testing.strategies import Moment, partition_keys, run_moments

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")

#: Oregon makes the result ``y`` of ``x``, which Iowa sends.
ONE_CROSSES = {
    OREGON: PartitionKeys(outputs=frozenset({"y"}), sends={}, fetches=frozenset({"x"})),
    IOWA: PartitionKeys(outputs=frozenset(), sends={"x": frozenset({OREGON})}, fetches=frozenset()),
}


def started(partitions: Mapping[Region, PartitionKeys]) -> RunMachine:
    """Make a machine that has been started."""
    machine = RunMachine(partitions)
    machine.start()
    return machine


def event_of(moment: Moment, partitions: Mapping[Region, PartitionKeys]) -> Event | None:
    """Make an event of numbers; None where the region has no such key."""
    regions = sorted(partitions)
    region = regions[moment.region % len(regions)]
    if moment.kind == "failed":
        return Failed(region=region, error=RuntimeError("it broke"))
    keys = partitions[region]
    named = sorted(keys.fetches if moment.kind == "fetched" else keys.outputs, key=str)
    if not named:
        return None
    chosen = tuple(dict.fromkeys(named[number % len(named)] for number in moment.keys))
    if moment.kind == "gathered":
        return Gathered(region=region, keys=chosen)
    kind = Computed if moment.kind == "computed" else Fetched
    return kind(region=region, key=chosen[0])


@given(partitions=partition_keys(), moments=run_moments())
@settings(max_examples=300, deadline=None)
def test_any_order_of_events_keeps_the_promises(
    partitions: Mapping[Region, PartitionKeys], moments: list[Moment]
) -> None:
    """However events come, a run ends at most once, asks once, and releases safely."""
    machine = RunMachine(partitions)
    told: list[Instruction] = list(machine.start())
    arrived: set[tuple[Region, object]] = set()
    failed = False
    for moment in moments:
        event = event_of(moment, partitions)
        if event is None:
            continue
        over = any(isinstance(each, Finish) for each in told)
        instructions = machine.handle(event)
        if over:
            assert instructions == []
            continue
        if isinstance(event, Gathered):
            arrived |= {(event.region, key) for key in event.keys}
        failed = failed or isinstance(event, Failed)
        _check_releases(instructions, partitions, arrived)
        told += instructions

    finishes = [each for each in told if isinstance(each, Finish)]
    owed = {(region, key) for region, keys in partitions.items() for key in keys.outputs}
    assert len(finishes) <= 1
    assert bool(finishes) == (failed or owed <= arrived)
    if finishes:
        assert told[-1] is finishes[0]
        assert (finishes[0].error is not None) == failed
    asked = Counter((each.region, each.key) for each in told if isinstance(each, Gather))
    assert all(count == 1 for count in asked.values())
    assert asked.keys() <= owed
    released = Counter(
        (each.region, key) for each in told if isinstance(each, Release) for key in each.sends
    )
    assert all(count == 1 for count in released.values())
    assert [each.region for each in told if isinstance(each, Submit)] == sorted(partitions)
    cancelled = [each.region for each in told if isinstance(each, Cancel)]
    assert cancelled == (sorted(partitions) if failed else [])


def _check_releases(
    instructions: list[Instruction],
    partitions: Mapping[Region, PartitionKeys],
    arrived: set[tuple[Region, object]],
) -> None:
    """Check that those who took a value owe nothing any more when it is released."""
    for instruction in instructions:
        if isinstance(instruction, Release):
            for key in instruction.sends:
                for target in partitions[instruction.region].sends[key]:
                    assert {(target, made) for made in partitions[target].outputs} <= arrived


@given(partitions=partition_keys())
@settings(max_examples=100, deadline=None)
def test_run_in_which_all_goes_well_ends_without_error(
    partitions: Mapping[Region, PartitionKeys],
) -> None:
    """Once everything owed has been computed and gathered, the run is finished."""
    machine = RunMachine(partitions)
    told = list(machine.start())
    for region in sorted(partitions):
        for key in sorted(partitions[region].outputs, key=str):
            for gather in machine.handle(Computed(region=region, key=key)):
                assert gather == Gather(region=region, key=key)
                told += machine.handle(Gathered(region=region, keys=(key,)))
    assert told[-1] == Finish(error=None)
    assert machine.ended


def test_partitions_are_submitted_together_in_order() -> None:
    """Fetches wait by themselves, so nothing is held back."""
    assert RunMachine(ONE_CROSSES).start() == [Submit(region=OREGON), Submit(region=IOWA)]


def test_run_that_owes_nothing_ends_at_once() -> None:
    """A plan without results is finished when it has been submitted."""
    nothing = PartitionKeys(outputs=frozenset(), sends={}, fetches=frozenset())
    assert RunMachine({IOWA: nothing}).start() == [Submit(region=IOWA), Finish(error=None)]


def test_result_computed_twice_is_gathered_once() -> None:
    """A result that was lost and made again is not asked for again."""
    machine = started(ONE_CROSSES)
    computed = Computed(region=OREGON, key="y")
    assert machine.handle(computed) == [Gather(region=OREGON, key="y")]
    assert machine.handle(computed) == []


def test_fetched_value_is_kept_until_its_partition_is_complete() -> None:
    """A fetched value may have to be fetched again, so its producer keeps it."""
    machine = started(ONE_CROSSES)
    assert machine.handle(Fetched(region=OREGON, key="x")) == []


def test_sent_values_are_released_along_a_chain() -> None:
    """When the last taker is complete, its producer is, and then the producer's producer."""
    ireland, virginia = Region.parse("aws:eu-west-1"), Region.parse("aws:us-east-1")
    none: frozenset[str] = frozenset()
    machine = started(
        {
            IOWA: PartitionKeys(outputs=none, sends={"a": frozenset({OREGON})}, fetches=none),
            OREGON: PartitionKeys(
                outputs=none, sends={"b": frozenset({ireland})}, fetches=frozenset({"a"})
            ),
            ireland: PartitionKeys(
                outputs=frozenset({"c", "d"}), sends={}, fetches=frozenset({"b"})
            ),
            virginia: PartitionKeys(outputs=frozenset({"slow"}), sends={}, fetches=none),
        }
    )
    assert machine.handle(Gathered(region=ireland, keys=("c",))) == []
    released = machine.handle(Gathered(region=ireland, keys=("d",)))
    assert released == [
        Release(region=ireland, sends=none, fetches=frozenset({"b"})),
        Release(region=OREGON, sends=frozenset({"b"}), fetches=none),
        Release(region=OREGON, sends=none, fetches=frozenset({"a"})),
        Release(region=IOWA, sends=frozenset({"a"}), fetches=none),
    ]


def test_producers_let_go_before_a_long_run_ends() -> None:
    """Values that nobody needs any more do not wait for an unrelated region."""
    ireland = Region.parse("aws:eu-west-1")
    slow = PartitionKeys(outputs=frozenset({"z"}), sends={}, fetches=frozenset())
    machine = started({**ONE_CROSSES, ireland: slow})
    assert machine.handle(Gathered(region=OREGON, keys=("y",))) == [
        Release(region=OREGON, sends=frozenset(), fetches=frozenset({"x"})),
        Release(region=IOWA, sends=frozenset({"x"}), fetches=frozenset()),
    ]
    assert machine.handle(Gathered(region=ireland, keys=("z",))) == [Finish(error=None)]


def test_failure_cancels_every_region() -> None:
    """The first failure ends the run everywhere; the second is not heard."""
    machine = started(ONE_CROSSES)
    first, second = RuntimeError("first"), RuntimeError("second")
    assert machine.handle(Failed(region=IOWA, error=first)) == [
        Cancel(region=OREGON),
        Cancel(region=IOWA),
        Finish(error=first),
    ]
    assert machine.handle(Failed(region=OREGON, error=second)) == []
