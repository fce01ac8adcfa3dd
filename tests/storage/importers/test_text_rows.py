"""Lines of text: what is malformed is left out alone, with its line number."""

import pytest

from storage.errors import InvalidSource
from storage.importers import _text_rows as text_rows
from storage.importers._text_rows import count_lines, csv_records, json_records
from storage.importers.report import Skipped


def read(records):
    """(line, text) of good records, (line, problem) of bad ones."""
    good, bad = [], []
    for record in records:
        line = int(record.where.rsplit(" ", 1)[1])
        if isinstance(record, Skipped):
            bad.append((line, record.detail))
        else:
            good.append((line, record.read("text")))
    return good, bad


def csv_of(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(csv_records(path, ["user", "text"]))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_csv_with_any_ending_and_mark(tmp_path, ending, bom):
    lines = ["user,text", 'a,"x, ""y"""', "", 'b,"two', 'lines"', "c,last"]

    good, bad = csv_of(tmp_path / "a.csv", bom + ending.join(lines))

    assert good == [(2, 'x, "y"'), (4, f"two{ending}lines"), (6, "last")]
    assert bad == []


@pytest.mark.parametrize(
    "line",
    [
        b"b",
        b"b,two,three",
        b'b,"quote" behind',
        b'b,"never closed',
        b'b,"never closed\nb2',
        b'"b,never closed',
        b"b,\xff\xfe",
        b"b," + b"x" * (text_rows.MAX_LINE_BYTES + 5),
        b'b,"' + b"x" * 200_000 + b'"',
    ],
    ids=lambda line: line[:20].decode("latin-1"),
)
@pytest.mark.parametrize("is_last", [False, True])
def test_a_malformed_csv_line_takes_no_other_with_it(tmp_path, line, is_last):
    rest = b"" if is_last else b'\nc,"good, too"\nd,"and \nthis"\ne,end'

    good, bad = csv_of(tmp_path / "a.csv", b"user,text\na,good\n" + line + rest)

    first_after = 4 + line.count(b"\n")
    after = [(first_after, "good, too"), (first_after + 1, "and \nthis"), (first_after + 3, "end")]
    assert good == [(2, "good"), *([] if is_last else after)]
    assert [number for number, _ in bad] == list(range(3, first_after))
    assert all(detail for _, detail in bad)


def test_a_record_of_endless_lines_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(text_rows, "_MAX_RECORD", 100)
    # Each line closes the field before it and opens the next one: one record, if nothing stops it.
    text = 'user,text\n"a\n' + '","\n' * 1000 + "b,last\n"

    records = csv_records(tmp_path / "a.csv", ["user", "text"])
    (tmp_path / "a.csv").write_text(text)
    good, bad = read(records)

    assert good[-1] == (1003, "last")
    assert bad[0] == (2, "with the lines behind it longer than 100 characters")


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"user\n", b'"user'])
def test_a_header_must_name_the_columns(tmp_path, text):
    with pytest.raises(InvalidSource, match=r"a\.csv must"):
        csv_of(tmp_path / "a.csv", text)


def test_a_malformed_json_line_takes_no_other_with_it(tmp_path):
    bad_lines = [b"{", b"[1]", b"null", b"7", b'"text"', b"\xff", b"[" * 100_000, b"9" * 5000, b"x"]
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "first"}\n' + b"\n".join(bad_lines) + b'\n \n\n{"text": "last"}\r\n'
    )

    good, bad = read(json_records(path))

    assert good == [(1, "first"), (len(bad_lines) + 4, "last")]
    assert [number for number, _ in bad] == list(range(2, len(bad_lines) + 2))


@pytest.mark.parametrize(
    ("text", "num_lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)]
)
def test_lines_are_counted(tmp_path, text, num_lines):
    (tmp_path / "a.csv").write_text(text)
    assert count_lines(tmp_path / "a.csv") == num_lines
