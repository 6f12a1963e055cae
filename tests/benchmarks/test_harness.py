"""How contenders are timed: with a clock that the test turns, every number is known."""

import math

import pytest

from benchmarks import harness
from benchmarks.harness import (
    FAILED,
    MISSING,
    Contender,
    Options,
    Spread,
    Timing,
    first_call,
    in_turn,
    measured_rows,
    missing_row,
    row_from,
    rows_of,
    side_by_side,
    spread,
)
from jaxlik.interop.optional import require


class Clock:
    """Time that passes only when a task says so."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def perf_counter(self):
        return self.now

    def task(self, name, seconds):
        """A task whose successive calls take the given seconds, the last one again and again."""
        remaining = list(seconds)

        def run():
            self.calls.append(name)
            self.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]
            return 0.0

        return run


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(harness.time, "perf_counter", made.perf_counter)
    return made


def test_compilation_is_what_the_first_call_takes_longer(clock):
    task = clock.task("a", [5.0, 1.0, 1.0, 1.0, 3.0])
    timing = side_by_side({"a": Contender(task, units=4)}, 3, least_seconds=0.0)["a"]
    # First call 5 s, one to learn how long calls take, then rounds of 1, 1 and 3 s.
    assert timing.first == 5.0
    assert timing.rounds == [0.25, 0.25, 0.75]
    assert timing.compile_seconds == pytest.approx(4.0)


def test_contenders_take_turns_and_ratios_are_of_the_same_round(clock):
    ours = Contender(clock.task("ours", [0.25, 0.25, 0.25, 0.5, 1.0]), compiles=False)
    peer = Contender(clock.task("peer", [2.5, 2.5, 2.5, 10.0, 5.0]), compiles=False)
    timings = side_by_side({"ours": ours, "peer": peer}, 4, least_seconds=0.0)
    # Without compilation the first call is the one that tells how long calls take.
    order = [*["ours", "peer"] * 2, "peer", "ours", "ours", "peer", "peer", "ours"]
    assert clock.calls == order
    (row,) = rows_of("suite", "case", timings)
    # Ratios 10, 10, 20, 5 of the four rounds, whatever the rounds took.
    assert timings["ours"].rounds == [0.25, 0.25, 0.5, 1.0]
    assert timings["peer"].rounds == [2.5, 2.5, 10.0, 5.0]
    assert row.ratio == spread([10.0, 10.0, 20.0, 5.0])


def test_short_tasks_are_repeated_and_long_ones_get_few_rounds(clock):
    tick = 2.0**-10
    short = Contender(clock.task("short", [tick]))
    timings = {"short": first_call(short)}
    in_turn({"short": short}, timings, 2, least_seconds=10 * tick)
    assert len(clock.calls) == 1 + 1 + 2 * 10
    assert timings["short"].rounds == [tick, tick]
    slow = Contender(clock.task("slow", [7.0]))
    timings = {"slow": first_call(slow)}
    in_turn({"slow": slow}, timings, 9, most_seconds=10.0)
    assert len(timings["slow"].rounds) == harness.FEWEST_ROUNDS
    quick = Contender(clock.task("quick", [1.0]))
    timings = {"quick": first_call(quick)}
    in_turn({"quick": quick}, timings, 9, most_seconds=5.0)
    assert len(timings["quick"].rounds) == 5


def test_rates_are_inverse_times_and_a_larger_ratio_is_always_better_for_us():
    timings = {"ours": Timing(1.0, [0.1, 0.2, 0.25]), "peer": Timing(1.0, [1.0, 1.0, 1.0])}
    (seconds,) = rows_of("suite", "case", timings)
    (rates,) = rows_of("suite", "case", timings, unit="per s")
    assert seconds.value.median == pytest.approx(0.2)
    assert rates.value.median == pytest.approx(5.0)
    assert rates.value.low == pytest.approx(4.5)
    assert rates.ratio == seconds.ratio
    assert seconds.ratio.median == pytest.approx(5.0)


def test_spread_is_median_and_quartiles():
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([2.0]).scaled(3.0) == Spread(6.0, 6.0, 6.0)


def test_peers_that_are_missing_broken_or_slow_give_rows_and_disturb_nobody(monkeypatch):
    monkeypatch.setattr(harness, "QUICK_PATIENCE", 0.2)

    def absent():
        require("no_such_package_anywhere", extra="bench")

    def broken():
        raise ValueError("a bin /home/somebody/folder/file has no events")

    def slow():
        def wait():
            # Alarms reach Python code only between its instructions.
            while True:
                pass

        return Contender(wait)

    ours = Contender(lambda: 1.0, compiles=False)
    peers = {"absent": absent, "broken": broken, "slow": slow, "fine": lambda: Contender(lambda: 2)}
    rows = {
        row.peer: row
        for row in measured_rows("suite", "case", ours, peers, Options(quick=True, rounds=3))
    }
    assert rows["absent"].unit == MISSING
    assert "jaxlik[bench]" in rows["absent"].note
    assert rows["broken"].unit == FAILED
    assert "ValueError: a bin ... has no events" in rows["broken"].note
    assert rows["slow"].unit == FAILED
    assert "longer than 0.2 s" in rows["slow"].note
    assert rows["fine"].ratio.median > 0
    assert rows["fine"].compile_seconds is None
    assert math.isnan(rows["absent"].value.median)


def test_a_peer_that_fails_later_leaves_our_own_number():
    calls = []

    def fails_later():
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("no memory left")

    rows = measured_rows(
        "suite",
        "case",
        Contender(lambda: 1.0),
        {"peer": lambda: Contender(fails_later), "other": lambda: Contender(lambda: 2.0)},
        Options(quick=True, rounds=3),
    )
    assert [row.peer for row in rows] == [None, "peer", "other"]
    assert rows[0].value.median > 0
    assert "no memory left" in rows[1].note


def test_our_own_failure_is_not_hidden():
    def fails():
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        measured_rows("suite", "case", Contender(fails), {}, Options(quick=True, rounds=1))


def test_rows_survive_json_without_nan():
    found = missing_row("suite", "case", "peer", "bench")
    assert found.document()["value"] is None
    again = row_from(found.document())
    assert math.isnan(again.value.median)
    timings = {"ours": Timing(1.0, [0.1, 0.2]), "peer": Timing(1.0, [1.0, 1.0])}
    (row,) = rows_of("suite", "case", timings, size=3, share=0.5, note="words")
    assert row_from(row.document()) == row
