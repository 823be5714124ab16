"""The governor: down the ladder when the model can't keep up, up again when it can, and not to and fro."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diffir_video import UsageError
from diffir_video.prior import ReusePolicy
from streams import LADDER, Governor
from streams.governor import GovernorConfig, ladder_from

INTERVAL = 0.04


class Machine:
    """A model that takes `cost` seconds for a whole frame, fed with 25 frames a second."""

    def __init__(self, cost: float, budget: float | None = 0.3, *, sharing_helps: bool = True) -> None:
        self.cost, self.now, self.sharing_helps = cost, 0.0, sharing_helps
        self.changes: list[tuple[float, str]] = []
        self.governor = Governor(
            GovernorConfig(latency_seconds=budget),
            on_change=lambda _, level, __: self.changes.append((self.now, level.name)),
        )
        self.backlog = 0.0
        self.delays: list[float] = []

    def run(self, seconds: float) -> None:
        for index in range(round(seconds / INTERVAL)):
            self.now += INTERVAL
            self.governor.arrived(self.now)
            level = self.governor.level
            due = not level.passes and index % level.every == 0
            share = level.frame_cost if self.sharing_helps else 1 / level.shrink**2
            cost = self.cost * share if due else 0.0
            # The mailbox keeps two frames; older ones are dropped before they are restored.
            self.backlog = min(max(self.backlog - INTERVAL, 0.0) + cost, 3 * max(cost, INTERVAL))
            if due:
                self.governor.restored(cost)
            self.delays.append(self.backlog + 0.005)
            self.governor.delivered(self.delays[-1], self.now)


def test_a_model_that_keeps_up_stays_at_full_quality() -> None:
    machine = Machine(cost=0.025)
    machine.run(60)
    assert machine.changes == []


def test_a_model_twice_too_slow_settles_where_it_keeps_up_and_returns_within_ten_seconds() -> None:
    machine = Machine(cost=0.08)
    machine.run(60)
    settled = machine.governor.level
    assert settled.load * 0.08 <= INTERVAL
    assert max(machine.delays[50:]) <= 0.3
    machine.cost = 0.02
    machine.run(10)
    assert machine.governor.level == LADDER[0]


def test_it_does_not_go_to_and_fro_at_the_edge() -> None:
    machine = Machine(cost=0.041)
    machine.run(120)
    assert len(machine.changes) <= 2


def test_frames_share_before_any_of_them_is_given_up() -> None:
    machine = Machine(cost=0.06)
    machine.run(60)
    assert [name for _, name in machine.changes] == ["prior", "statistics"]


def test_a_guess_of_what_sharing_saves_that_is_wrong_costs_a_step_to_and_fro_every_few_seconds() -> None:
    machine = Machine(cost=0.06, sharing_helps=False)
    machine.run(60)
    assert len(machine.changes) <= 30
    machine.cost = 0.02
    machine.run(10)
    assert machine.governor.level == LADDER[0]


@pytest.mark.parametrize("gathered", [8, 75])
def test_what_a_source_had_gathered_before_it_connected_does_not_count_as_its_pace(gathered: int) -> None:
    machine = Machine(cost=0.03)
    for frame in range(gathered):
        machine.governor.arrived((frame - gathered) * 0.002)
    machine.run(5)
    assert machine.changes == []


@pytest.mark.parametrize("gathered", [8, 75])
def test_nor_does_what_it_had_gathered_before_it_connected_again(gathered: int) -> None:
    machine = Machine(cost=0.03)
    machine.run(5)
    machine.now += 4
    for frame in range(gathered):
        machine.governor.arrived(machine.now + (frame - gathered) * 0.002)
    machine.run(5)
    assert machine.changes == []


def test_each_level_costs_less_than_the_one_before_it() -> None:
    loads = [level.load for level in LADDER]
    assert loads == sorted(set(loads), reverse=True)


@pytest.mark.parametrize(
    ("own", "names"),
    [
        (ReusePolicy(), ["full", "prior", "statistics", "half_rate", "half_size", "passthrough"]),
        (ReusePolicy(level="prior"), ["full", "statistics", "half_rate", "half_size", "passthrough"]),
        (ReusePolicy(level="statistics"), ["full", "half_rate", "half_size", "passthrough"]),
        (None, ["full", "half_rate", "half_size", "passthrough"]),
    ],
)
def test_a_ladder_gives_up_only_what_the_restorer_has(own: ReusePolicy | None, names: list[str]) -> None:
    levels = ladder_from(own)
    assert [level.name for level in levels] == names
    # As it is told to share, but that no frame waits for a new prior.
    assert own is None or levels[0].policy(own) == replace(own, prior_delay=2)


def test_a_level_keeps_what_the_restorer_was_told_and_shares_for_longer() -> None:
    own = ReusePolicy(level="prior", refresh_threshold=0.2, max_prior_age=300, prior_smoothing=0.5)
    shared = ladder_from(own)[1].policy(own)
    assert shared == ReusePolicy(level="statistics", max_prior_age=300, prior_smoothing=0.5, prior_delay=2)


def test_a_model_that_is_far_too_slow_ends_in_passing_frames_through() -> None:
    machine = Machine(cost=1.0)
    machine.run(3)
    levels = list[str]()
    for _ in range(500):
        machine.run(INTERVAL)
        levels.append(machine.governor.level.name)
    assert levels.count("passthrough") > 0.8 * len(levels)
    machine.changes.clear()
    machine.cost = 0.02
    machine.run(15)
    # What a frame took before is forgotten while none is restored.
    names = [name for _, name in machine.changes]
    assert names == [level.name for level in LADDER[-2::-1]][-len(names) :]
    assert machine.governor.level == LADDER[0]


def test_every_other_frame_is_half_the_load() -> None:
    machine = Machine(cost=0.1)
    machine.run(20)
    assert machine.governor.level.name == "half_rate"


def test_a_level_that_would_only_just_be_kept_up_with_is_not_tried() -> None:
    machine = Machine(cost=0.06)
    machine.run(10)
    machine.cost = 0.9 * INTERVAL
    machine.run(20)
    assert machine.governor.level.name == "prior"


def governed(budget: float = 0.5, **settings: float) -> Governor:
    return Governor(GovernorConfig(latency_seconds=budget, **settings))


def test_one_slow_frame_lets_one_pass() -> None:
    governor = governed(budget=0.5)
    for _ in range(30):
        governor.restored(0.01)
    governor.restored(0.45)
    assert [governor.has_time_for(0.1) for _ in range(3)] == [False, True, True]


def delivered(governor: Governor, delay: float, begin: float, seconds: float) -> list[float]:
    """Frames for so many seconds, each so late; when the level changed."""
    changes: list[float] = []
    for frame in range(round(seconds / INTERVAL)):
        index, now = governor.index, begin + frame * INTERVAL
        governor.delivered(delay, now)
        changes += [now] * (governor.index != index)
    return changes


def test_what_was_late_before_a_step_leads_to_no_other() -> None:
    governor = governed(budget=0.3, calm_seconds=60)
    assert len(delivered(governor, 0.3, begin=0, seconds=0.2)) == 1
    assert delivered(governor, 0.02, begin=0.2, seconds=5) == []


def test_nothing_more_is_done_until_all_has_been_well_for_a_while() -> None:
    governor = governed(budget=0.3, calm_seconds=5)
    delivered(governor, 0.3, begin=0, seconds=30)
    assert governor.level.passes
    (first, *_) = delivered(governor, 0.02, begin=30, seconds=10)
    # Of the last 50 frames one in ten may have been late.
    assert first >= 30 + 45 * INTERVAL + 5


def test_without_a_budget_nothing_is_given_up() -> None:
    machine = Machine(cost=1.0, budget=None)
    machine.run(10)
    assert machine.changes == []


def test_another_budget_serves_at_once() -> None:
    machine = Machine(cost=0.03)
    machine.run(5)
    machine.governor.configure(GovernorConfig(latency_seconds=0.02))
    machine.run(5)
    assert machine.governor.index > 0


def test_a_budget_that_is_taken_away_leaves_nothing_given_up() -> None:
    machine = Machine(cost=1.0)
    machine.run(10)
    assert machine.governor.index > 0
    machine.governor.configure(GovernorConfig(latency_seconds=None))
    assert machine.governor.level == LADDER[0]
    assert machine.changes[-1][1] == "full"
    changes = len(machine.changes)
    machine.run(10)
    assert len(machine.changes) == changes


def test_a_budget_that_is_given_again_finds_nothing_of_the_one_before() -> None:
    machine = Machine(cost=0.08)
    machine.run(10)
    machine.governor.configure(GovernorConfig(latency_seconds=None))
    machine.governor.configure(GovernorConfig(latency_seconds=0.3))
    machine.cost, machine.backlog = 0.02, 0.0
    machine.changes.clear()
    machine.run(2)
    assert machine.changes == []


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_must_be_positive(budget: float) -> None:
    with pytest.raises(UsageError, match="budget"):
        GovernorConfig(latency_seconds=budget)
