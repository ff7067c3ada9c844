"""Percentiles, medians, ratios and what is printed."""

import json

import pytest

from bench.figures import Sample, percentile_ms, ratio, row_of, table

MS = 1_000_000


@pytest.mark.parametrize(
    ("latencies", "percent", "expected"),
    [
        ([], 99, None),
        ([7 * MS], 50, 7),
        ([7 * MS], 99, 7),
        ([1 * MS, 2 * MS], 50, 1),
        ([2 * MS, 1 * MS], 51, 2),
        ([n * MS for n in range(1, 101)], 50, 50),
        ([n * MS for n in range(1, 101)], 99, 99),
        ([n * MS for n in range(1, 101)], 100, 100),
        ([n * MS for n in range(1, 11)], 99, 10),
        ([1_500_000], 0, 1.5),
    ],
)
def test_percentile_is_a_latency_that_was_measured(latencies, percent, expected):
    assert percentile_ms(latencies, percent) == expected


def sample(operations, *latencies_ms, seconds=1.0, **more):
    return Sample(operations, seconds, [ms * MS for ms in latencies_ms], **more)


def test_a_row_is_the_median_of_its_rounds():
    row = row_of(
        "authorize",
        8,
        20,
        [sample(100, 1, 2, 9), sample(900, 5, errors=2), sample(300, 3, seconds=2)],
    )

    assert (row.per_second, row.p50_ms, row.p99_ms, row.errors) == (150, 3, 5, 2)


def test_a_row_without_rounds_is_absent_and_says_so():
    row = row_of("commit_batch_100", 8, 20, [])

    assert row.absent
    assert "absent" in table([row])
    assert json.loads(row.as_json())["per_second"] is None


def test_ratio_is_to_the_floor_of_the_same_sort_and_connections():
    floors = {("floor", 8): 1000.0, ("floor_hot", 8): 500.0}
    spread, hot, other = (
        row_of(name, connections, 20, [sample(250, 1)])
        for name, connections in (("commit", 8), ("commit_hot", 8), ("commit", 1))
    )

    assert [ratio(row, floors) for row in (spread, hot, other)] == [0.25, 0.5, None]


def test_the_table_has_a_line_for_each_row():
    rows = [row_of("commit", 8, 20, [sample(1234, 1, generator_cpu=0.125)])]

    head, marks, line = table(rows).split("\n")

    assert head.count("|") == marks.count("|") == line.count("|")
    assert "1,234" in line
    assert "12%" in line
