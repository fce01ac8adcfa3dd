"""Moments of Parquet: one instant, however the file writes it."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.importers._drafts import moment_of
from storage.importers._parquet_rows import parquet_records
from storage.importers.report import Refusal

AT = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SECOND = AT.replace(microsecond=0)
MICROSECONDS = pa.array([AT], pa.timestamp("us", "UTC"))
MOMENTS = {
    "no zone": (MICROSECONDS.cast(pa.timestamp("us")), AT),
    "a zone": (MICROSECONDS.cast(pa.timestamp("us", "Asia/Kathmandu")), AT),
    "a zone that nobody knows": (MICROSECONDS.cast(pa.timestamp("us", "Nowhere/At all")), AT),
    "nanoseconds": (MICROSECONDS.cast(pa.timestamp("ns", "America/Lima")), AT),
    "seconds": (pa.array([SECOND], pa.timestamp("s", "+05:30")), SECOND),
    "a day": (pa.array([date(2024, 1, 2)]), datetime(2024, 1, 2, tzinfo=UTC)),
    "nothing": (pa.nulls(1, pa.timestamp("ns", "UTC")), None),
}


def moments(path, cells):
    """Write cells as a column and read them as moments; a refusal stands for itself."""
    pq.write_table(pa.table({"at": cells}), path)
    result = []
    for record in parquet_records(path, ["at"]):
        try:
            result.append(moment_of(record.read("at"), "at"))
        except Refusal as refusal:
            result.append(refusal.reason)
    return result


@pytest.mark.parametrize(("cells", "expected"), MOMENTS.values(), ids=MOMENTS)
def test_an_instant_is_the_same_however_it_is_written(cells, expected, tmp_path):
    assert moments(tmp_path / "a.parquet", cells) == [expected]


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("number", [2**62, -(2**62)])
def test_a_moment_out_of_reach_becomes_no_other_moment(zone, number, tmp_path):
    cells = pa.array([number, 5000], pa.timestamp("ms", zone))

    result = moments(tmp_path / "a.parquet", cells)

    assert result == ["at cannot be read", datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)]
