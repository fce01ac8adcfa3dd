"""Tables of the page as CSV files."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence

import streamlit as st

from recsys.spreadsheet import write_csv

CsvRows = Iterable[Sequence[object]]


def paged(read: Callable[[str], Sequence[Sequence[object]]]) -> Iterator[Sequence[object]]:
    """Yield all rows of pages.

    Args:
        read: returns the page after a user id, by id; empty after the last. Rows begin with the id.
    """
    after = ""
    while page := read(after):
        yield from page
        after = str(page[-1][0])


def csv_of(columns: Sequence[str], rows: CsvRows) -> str:
    """Return rows as CSV, as `recsys.spreadsheet.write_csv` writes it."""
    file = io.StringIO(newline="")
    write_csv(file, columns, rows)
    return file.getvalue()


def download(
    name: str,
    columns: Sequence[str],
    read: Callable[[], CsvRows],
    *,
    label: str = "Download CSV",
) -> None:
    """Offer rows as a CSV file.

    Args:
        name: of the file, without a suffix.
        columns: of the file.
        read: returns the rows; called once the reader asks for the file, outside the page.
        label: of the button.
    """
    st.download_button(
        label,
        lambda: csv_of(columns, read()),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"download {name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )
