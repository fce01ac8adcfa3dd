"""Tables of the page as CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime

import streamlit as st


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV (RFC 4180) with a header; instants as ISO 8601, None as an empty cell."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def download(
    name: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    label: str = "Download CSV",
) -> None:
    """Offer rows as a CSV file."""
    st.download_button(
        label,
        csv_of(columns, rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"download {name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return "" if value is None else value
