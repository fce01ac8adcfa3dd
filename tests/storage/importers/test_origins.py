"""Whose imported choices are: by data set and by prefix."""

import pytest

from storage.errors import InvalidRecord
from storage.importers.origin import Origin
from storage.importers.pairs import import_pairs
from storage.importers.ratings import import_ratings


def datasets(store, user_id):
    return [stored.choice.dataset for stored in store.read(user_id).choices]


def test_the_folder_names_the_data_set_unless_somebody_does(make, store, inspect):
    folder = make("first", ("7", "a", "b"))
    import_pairs(folder, store, inspect=inspect)
    assert datasets(store, "7") == ["first"]
    import_pairs(make("second", ("8", "a", "b")), store, origin=Origin("mine"), inspect=inspect)
    assert datasets(store, "8") == ["mine"]


def test_equal_ids_of_two_data_sets_are_told_of_once_each(make, store, inspect, monkeypatch):
    monkeypatch.setattr("storage.importers._writer.MAX_ROWS", 1)
    monkeypatch.setattr("storage.importers._earlier.MAX_KNOWN", 0)
    import_pairs(make("first", ("7", "a", "b"), ("8", "a", "b")), store, inspect=inspect)
    second = make("second", ("7", "c", "d"), ("9", "c", "d"), ("7", "e", "f"))
    report = import_pairs(second, store, inspect=inspect)
    assert (report.num_stored, report.num_merged) == (3, 1)
    assert datasets(store, "7") == ["first", "second", "second"]
    again = import_pairs(second, store, inspect=inspect)
    assert (again.num_repeated, again.num_merged, again.num_left) == (3, 0, 0)


def test_who_gains_a_choice_late_is_told_of_too(make, store, inspect, monkeypatch):
    monkeypatch.setattr("storage.importers._writer.MAX_ROWS", 2)
    rows = [("7", "a", other) for other in "bcdef"]
    import_pairs(make("first", *rows), store, inspect=inspect)
    report = import_pairs(make("second", *rows, ("7", "a", "x")), store, inspect=inspect)
    assert (report.num_stored, report.num_repeated, report.num_merged) == (1, 5, 1)
    grown = import_pairs(make("second", *rows, ("7", "a", "y")), store, inspect=inspect)
    assert (grown.num_stored, grown.num_merged) == (1, 1)


def test_with_a_prefix_they_stay_two_people(make, store, inspect):
    import_pairs(make("first", ("7", "a", "b")), store, inspect=inspect)
    second = make("second", ("7", "a", "b"))
    origin = Origin("second", user_prefix="two:")
    assert import_pairs(second, store, origin=origin, inspect=inspect).num_merged == 0
    assert store.user_ids() == ["7", "two:7"]
    assert import_pairs(second, store, origin=origin, inspect=inspect).num_repeated == 1


def test_a_prefix_makes_no_id_of_none_and_keeps_the_limit(make, store, inspect):
    folder = make("first", ("", "a", "b"), ("u" * 256, "a", "b"), ("7", "a", "b"))
    report = import_pairs(folder, store, origin=Origin("x", user_prefix="x:"), inspect=inspect)
    assert report.skipped == {"user_id cannot be stored": 2}
    assert store.user_ids() == ["x:7"]


@pytest.mark.parametrize("wrong", [("",), ("d" * 257,), ("d", "p" * 257), ("\x00",)])
def test_a_bad_name_is_refused(wrong):
    with pytest.raises(InvalidRecord, match=r"dataset|user_prefix"):
        Origin(*wrong)


def test_other_thresholds_stand_beside_the_old_ones_and_it_is_told(rated, store, inspect):
    import_ratings(rated, store, inspect=inspect)
    before = store.read("7").choices
    report = import_ratings(rated, store, liked_min=5, disliked_max=1, inspect=inspect)
    assert report.num_left == len(before) - report.num_repeated > 0
    assert len(store.read("7").choices) == len(before) + report.num_stored
