from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from support.run_world import World
from support.strategies import Moment, partition_keys, run_moments
from xr_locality.execution.events import (
    Cancel,
    Computed,
    Event,
    Failed,
    Fetched,
    Finish,
    Gather,
    Gathered,
    Instruction,
    Lost,
    Release,
    Reopen,
    Reopened,
    Submit,
    Submitted,
    Unreached,
    Vanished,
    Verify,
)
from xr_locality.execution.machine import PartitionKeys, RunMachine
from xr_locality.regions.region import Region

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


def submit(
    region: Region, attempt: int, *, outputs: Iterable[str] = (), sends: Iterable[str] = ()
) -> Submit:
    """Make the instruction to send a region what is left of its partition."""
    return Submit(
        region=region, attempt=attempt, outputs=frozenset(outputs), sends=frozenset(sends)
    )


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
    assert not any(isinstance(each, Reopen) for each in told)
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
    assert RunMachine(ONE_CROSSES).start() == [
        submit(OREGON, 0, outputs={"y"}),
        submit(IOWA, 0, sends={"x"}),
    ]


def test_run_that_owes_nothing_ends_at_once() -> None:
    """A plan without results is finished when it has been submitted."""
    nothing = PartitionKeys(outputs=frozenset(), sends={}, fetches=frozenset())
    assert RunMachine({IOWA: nothing}).start() == [submit(IOWA, 0), Finish(error=None)]


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


def lost(region: Region, attempt: int = 0) -> Lost:
    """Make the event that a region is gone."""
    return Lost(region=region, attempt=attempt, error=ConnectionError(f"{region} is gone"))


def test_lost_region_is_opened_again_and_sent_what_is_left() -> None:
    """What has arrived stays: only the other results are made again."""
    keys = PartitionKeys(outputs=frozenset({"y", "z"}), sends={}, fetches=frozenset({"x"}))
    machine = started({**ONE_CROSSES, OREGON: keys})
    machine.handle(Gathered(region=OREGON, keys=("z",)))
    assert machine.handle(lost(OREGON)) == [Reopen(region=OREGON, anew=True)]
    assert machine.handle(lost(OREGON)) == []
    assert machine.handle(Reopened(region=OREGON, anew=True)) == [submit(OREGON, 1, outputs={"y"})]
    assert machine.handle(Computed(region=OREGON, key="y", attempt=0)) == []
    assert machine.handle(Computed(region=OREGON, key="y", attempt=1)) == [
        Gather(region=OREGON, key="y")
    ]


def test_lost_producer_makes_what_has_not_been_fetched() -> None:
    """A value that has not been fetched is made again; the others are not."""
    taken = PartitionKeys(outputs=frozenset({"y"}), sends={}, fetches=frozenset({"w", "x"}))
    made = PartitionKeys(
        outputs=frozenset(),
        sends={"w": frozenset({OREGON}), "x": frozenset({OREGON})},
        fetches=frozenset(),
    )
    machine = started({OREGON: taken, IOWA: made})
    machine.handle(Fetched(region=OREGON, key="w"))
    machine.handle(lost(IOWA))
    assert machine.handle(Reopened(region=IOWA, anew=True)) == [submit(IOWA, 1, sends={"x"})]


def test_region_of_which_nothing_is_needed_is_left_alone() -> None:
    """A cluster that is lost when all of its values have been fetched is not opened again."""
    machine = started(ONE_CROSSES)
    machine.handle(Fetched(region=OREGON, key="x"))
    assert machine.handle(lost(IOWA)) == []
    assert machine.handle(Gathered(region=OREGON, keys=("y",)))[-1] == Finish(error=None)


def test_fetched_value_lost_with_its_worker_reopens_its_region() -> None:
    """A fetch that runs again always finds its value, though its maker was gone."""
    machine = started(ONE_CROSSES)
    machine.handle(Fetched(region=OREGON, key="x"))
    machine.handle(lost(IOWA))
    assert machine.handle(Vanished(region=OREGON, key="x")) == [Reopen(region=IOWA, anew=True)]
    assert machine.handle(Reopened(region=IOWA, anew=True)) == [submit(IOWA, 1, sends={"x"})]


def test_producer_starts_again_for_what_it_does_not_make_any_more() -> None:
    """A value that was there when its region was lost, and is lost then, is made after all."""
    taken = PartitionKeys(outputs=frozenset({"y"}), sends={}, fetches=frozenset({"w", "x"}))
    made = PartitionKeys(
        outputs=frozenset(),
        sends={"w": frozenset({OREGON}), "x": frozenset({OREGON})},
        fetches=frozenset(),
    )
    machine = started({OREGON: taken, IOWA: made})
    machine.handle(Fetched(region=OREGON, key="w"))
    machine.handle(lost(IOWA))
    machine.handle(Reopened(region=IOWA, anew=True))
    assert machine.handle(Vanished(region=OREGON, key="x")) == []
    assert machine.handle(Vanished(region=OREGON, key="w")) == [submit(IOWA, 2, sends={"w", "x"})]


def test_late_word_of_a_lost_copy_does_not_count() -> None:
    """A value is needed from when its copy was lost, though its arrival is reported again."""
    taken = PartitionKeys(outputs=frozenset({"y"}), sends={}, fetches=frozenset("uvw"))
    made = PartitionKeys(
        outputs=frozenset(),
        sends={key: frozenset({OREGON}) for key in "uvw"},
        fetches=frozenset(),
    )
    machine = started({OREGON: taken, IOWA: made})
    first = Fetched(region=OREGON, key="u")
    machine.handle(first)
    machine.handle(lost(IOWA))
    machine.handle(Vanished(region=OREGON, key="u"))
    assert machine.handle(first) == []
    assert machine.handle(Reopened(region=IOWA, anew=True)) == [submit(IOWA, 1, sends="uvw")]


def test_late_word_that_a_copy_was_lost_does_not_count() -> None:
    """A value that has been fetched again is there, though its loss is reported again."""
    machine = started(ONE_CROSSES)
    machine.handle(Fetched(region=OREGON, key="x"))
    vanished = Vanished(region=OREGON, key="x")
    machine.handle(vanished)
    machine.handle(Fetched(region=OREGON, key="x", copy=1))
    assert machine.handle(vanished) == []
    assert machine.handle(lost(IOWA)) == []


def test_consumer_lost_after_its_producer_needs_both() -> None:
    """A producer makes again what a lost consumer had fetched, if that is still needed."""
    machine = started(ONE_CROSSES)
    machine.handle(Fetched(region=OREGON, key="x"))
    machine.handle(lost(IOWA))
    assert machine.handle(lost(OREGON)) == [
        Reopen(region=OREGON, anew=True),
        Reopen(region=IOWA, anew=True),
    ]
    assert machine.handle(Reopened(region=OREGON, anew=True)) == [submit(OREGON, 1, outputs={"y"})]
    none: frozenset[str] = frozenset()
    assert machine.handle(Submitted(region=OREGON, attempt=1, fetches=none)) == []
    # The part that was left takes nothing, so nothing is made for it.
    assert machine.handle(Reopened(region=IOWA, anew=True)) == []


def test_second_loss_of_a_cluster_may_not_open_another() -> None:
    """A cluster is opened anew once; coming back to the same one is still allowed."""
    machine = started(ONE_CROSSES)
    machine.handle(lost(IOWA))
    machine.handle(Reopened(region=IOWA, anew=True))
    assert machine.handle(lost(IOWA, 1)) == [Reopen(region=IOWA, anew=False)]


def test_region_that_is_lost_again_and_again_ends_the_run() -> None:
    """Coming back has an end: the error is that of the last loss."""
    machine = started(ONE_CROSSES)
    for attempt in range(4):
        assert machine.handle(lost(IOWA, attempt)) == [Reopen(region=IOWA, anew=True)]
        machine.handle(Reopened(region=IOWA, anew=False))
    (*_, finish) = machine.handle(lost(IOWA, 4))
    assert isinstance(finish, Finish)
    assert str(finish.error) == f"{IOWA} is gone"


def test_results_that_stay_are_lost_with_their_region() -> None:
    """What is persisted in a region that is lost is made again."""
    keys = PartitionKeys(outputs=frozenset({"y", "z"}), sends={}, fetches=frozenset())
    machine = RunMachine({IOWA: keys}, stay=True)
    machine.start()
    machine.handle(Gathered(region=IOWA, keys=("z",)))
    machine.handle(lost(IOWA))
    assert machine.handle(Reopened(region=IOWA, anew=True)) == [submit(IOWA, 1, outputs={"y", "z"})]


def unreached(tried: int, attempt: int = 0) -> Unreached:
    """Make the event that Oregon's fetch has no answer from Iowa."""
    error = ConnectionError("no answer")
    return Unreached(region=OREGON, key="x", source=IOWA, attempt=attempt, tried=tried, error=error)


def test_link_without_an_answer_is_given_up_after_the_retries() -> None:
    """Only then is it asked whether the region itself is gone, and only once."""
    machine = started(ONE_CROSSES)
    assert [machine.handle(unreached(tried)) for tried in (1, 2, 3)] == [[], [], []]
    (verify,) = machine.handle(unreached(4))
    assert verify == Verify(region=IOWA, attempt=0, error=verify.error)  # type: ignore[union-attr]
    assert machine.handle(unreached(5)) == []


def test_link_to_a_region_that_is_opened_again_is_not_given_up() -> None:
    """Fetches wait for a lost region, and for its new attempt with new patience."""
    machine = started(ONE_CROSSES)
    machine.handle(lost(IOWA))
    assert machine.handle(unreached(9)) == []
    machine.handle(Reopened(region=IOWA, anew=True))
    assert machine.handle(unreached(9)) == []
    assert machine.handle(unreached(4, attempt=1)) != []


@given(
    partitions=partition_keys(),
    chance=st.randoms(use_true_random=False),
    n_acts=st.integers(0, 60),
    reopenings=st.sampled_from([1, 9]),
)
@settings(max_examples=300, deadline=None)
def test_faults_end_in_the_right_result_or_one_error(
    partitions: Mapping[Region, PartitionKeys], chance: Random, n_acts: int, reopenings: int
) -> None:
    """However workers, links and regions fail, a run ends, and never lacks a value."""
    world = World(partitions, chance=chance, reopenings=reopenings)
    for _ in range(n_acts):
        if world.finish is None:
            world.act(faults=True)
    for _ in range(1_000):
        if world.finish is not None:
            break
        world.act(faults=False)
    assert world.finish is not None, "the run waits for ever"
    if world.finish.error is None:
        assert world.arrived >= {
            (region, key) for region, keys in partitions.items() for key in keys.outputs
        }
    else:
        assert world.finish.error in world.errors
        assert world.cancelled == sorted(partitions)
