"""Scores of segments -> events, against a slow matcher that looks at every hundredth of a second."""

from types import SimpleNamespace

import numpy as np
import pytest

from minast.streaming.events import Events, thresholds

STEP = 0.01  # s


def events(rows, starts, seconds, length, hop, level=0.5, merge=0.0, shortest=0.0):
    tracker = Events(np.full(rows.shape[1], level), length, hop, merge, shortest)
    found = [event for start, row in zip(starts, rows, strict=True) for event in tracker.add(start, row)]
    return sorted([*found, *tracker.finish(seconds)])


def by_the_definition(rows, starts, seconds, length, hop, level, merge, shortest):
    """Paint the cells on a line of hundredths; read the runs off it."""
    found, edges = [], [0.0, *(start + (length + hop) / 2 for start in starts[:-1]), seconds]
    ticks = [round(edge / STEP) for edge in edges]
    for k in range(rows.shape[1]):
        line = np.full(ticks[-1], -1.0)
        for score, a, b in zip(rows[:, k], ticks[:-1], ticks[1:], strict=True):
            line[a:b] = score
        on = line >= level
        runs, i = [], 0
        while i < len(line):
            if on[i]:
                j = i
                while j < len(line) and on[j]:
                    j += 1
                if runs and i - runs[-1][1] <= round(merge / STEP):
                    runs[-1] = (runs[-1][0], j)
                else:
                    runs.append((i, j))
                i = j
            i += 1
        found += [(a, b, k, line[a:b].max()) for a, b in runs if b - a >= round(shortest / STEP)]
    return sorted((round(a * STEP, 6), round(b * STEP, 6), k, p) for a, b, k, p in found)


@pytest.mark.parametrize("seed", range(30))
def test_as_defined(seed):
    rng = np.random.default_rng(seed)
    frames = 2 * int(rng.integers(1, 60))
    hop = 2 * int(rng.integers(1, frames // 2 + 1))
    count, rest = int(rng.integers(1, 60)), int(rng.integers(0, hop))
    begins = hop * np.arange(count)
    if rest:
        begins = np.append(begins, begins[-1] + rest)  # flush with the end
    starts, seconds = begins * STEP, (begins[-1] + frames + 1) * STEP
    rows = rng.random((len(starts), 3)) ** rng.choice([0.3, 1, 3])
    merge, shortest = (STEP * int(rng.integers(0, 3 * hop)) * rng.integers(0, 2) for _ in range(2))
    given = (starts, seconds, frames * STEP, hop * STEP, 0.6, merge, shortest)
    found = [(round(e.start, 6), round(e.end, 6), e.label, e.score) for e in events(rows, *given)]
    assert found == by_the_definition(rows, *given)


def test_end_to_end_cells_are_the_segments():
    rows = np.array([[0.9], [0.1], [0.8], [0.7], [0.2]])
    found = events(rows, np.arange(5.0), 5.02, 1.0, 1.0)
    assert [tuple(e) for e in found] == [(0, 1, 0, 0.9), (2, 4, 0, 0.8)]
    assert events(rows[:3], np.arange(3.0), 3.02, 1.0, 1.0)[-1].end == 3.02  # to the very end


@pytest.mark.parametrize("hop", [0.1, 0.25, 0.5, 1.0])
def test_the_onset_is_at_most_half_a_hop_off_if_half_a_segment_is_enough(hop):
    for onset in np.linspace(2, 3, 37):
        starts = np.arange(0, 9 + 1e-9, hop)
        covered = np.clip(np.minimum(starts + 1, onset + 2) - np.maximum(starts, onset), 0, 1)
        (event,) = events(covered[:, None], starts, 10.0, 1.0, hop)
        assert abs(event.start - onset) <= hop / 2 + 1e-9 and abs(event.end - onset - 2) <= hop / 2 + 1e-9


def test_an_event_of_hours_is_one_and_takes_no_memory():
    tracker = Events(np.full(2, 0.5), 1.0, 1.0)
    for i in range(10 * 3600):
        assert not list(tracker.add(float(i), np.array([0.9, 0.1])))
    (event,) = tracker.finish(36000.0)
    assert event == (0.0, 36000.0, 0, 0.9)
    assert all(np.size(value) <= 2 for value in vars(tracker).values())


def test_an_event_is_told_as_soon_as_it_cannot_grow():
    tracker = Events(np.array([0.5]), 1.0, 1.0, merge=1.0)
    rows = [0.9, 0.1, 0.1, 0.1]
    told = [bool(list(tracker.add(float(i), np.array([p])))) for i, p in enumerate(rows)]
    assert told == [False, False, True, False]


def test_thresholds():
    info = SimpleNamespace(labels=["a", "b", "c"])
    assert thresholds(info, None).tolist() == [0.5] * 3 and thresholds(info, 0.2).tolist() == [0.2] * 3
    assert thresholds(info, 0.2, np.array([1])).tolist() == [np.inf, 0.2, np.inf]
    own = SimpleNamespace(labels=info.labels, decisions=SimpleNamespace(thresholds=[0.1, None, 0.3]))
    assert thresholds(own, None).tolist() == [0.1, np.inf, 0.3] and thresholds(own, 0.4).tolist() == [0.4] * 3
    assert thresholds(SimpleNamespace(labels=["a"], decisions=None), None).tolist() == [0.5]
