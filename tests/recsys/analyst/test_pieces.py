"""The page's pure pieces: HTML, files, windows of time, layouts, maps of attention."""

import re
from datetime import UTC, date, datetime

import numpy as np
import pytest

from recsys.analyst.attention import cosine, labels
from recsys.analyst.comparison import attention_figure
from recsys.analyst.downloads import csv_of, paged
from recsys.analyst.filters import described, window_of
from recsys.analyst.freshness import share
from recsys.analyst.layouts import Layout, Method, cached_layout, keep_layout, lay_out
from recsys.analyst.markup import Act, Opinion, ShownImage, choice_card, picture, title
from recsys.analyst.one_user import ago, day
from recsys.analyst.theme import STYLE
from recsys.analyst.thumbnails import thumbnail
from recsys.analyst.user_map import cluster_sizes, figure
from storage.browsing import ListedUser, Window


def test_what_people_wrote_is_escaped():
    evil = "<script>alert('x')</script>"
    shown = ShownImage("data:,'onerror='x", Opinion.LIKED, evil, evil)

    text = choice_card(evil, shown, [shown], when=evil) + title(evil, over=evil, below=evil)

    assert "<script" not in text
    assert "'onerror" not in text


def test_where_an_import_told_no_times_a_tile_shows_none():
    untold = datetime(1970, 1, 1, 0, 0, 0, 252, tzinfo=UTC)

    assert (day(untold), ago(untold)) == ("unknown", "")
    assert (day(None), ago(None)) == ("–", "")
    assert day(datetime(2026, 1, 6, tzinfo=UTC)) == "2026-01-06"


def test_liked_and_passed_over_differ_in_mark_and_word_not_in_colour_alone():
    liked, passed = (picture(ShownImage("data:,", each)) for each in list(Opinion)[:2])

    assert ("♥" in liked, "Liked" in liked) == (True, True)
    assert ("✕" in passed, "Passed over" in passed) == (True, True)


def test_a_picture_is_a_button_that_says_what_it_does():
    opens = picture(ShownImage("data:,", Opinion.LIKED, "a fox", sha256="ab"))
    picks = picture(ShownImage("data:,", text="a fox", sha256="ab", act=Act.PICK, is_picked=True))

    assert "<button type='button' class='rs-frame' data-open='ab'" in opens
    assert "aria-label='Liked · a fox: show large'" in opens
    assert "data-pick='ab' aria-label='a fox: compare on this image' aria-pressed='true'" in picks
    assert "<button" not in picture(ShownImage("data:,", text="of no image in storage"))
    assert "<button" not in picture(ShownImage(None, sha256="ab")), "it cannot be read"


def test_an_image_that_cannot_be_read_says_so():
    assert "cannot be read" in picture(ShownImage(None))
    assert thumbnail(b"no image") is None


def test_pages_are_read_until_one_is_empty():
    asked = []

    def read(after):
        asked.append(after)
        return [(name, 1) for name in "abcde" if name > after][:2]

    assert [name for name, _ in paged(read)] == list("abcde")
    assert asked == ["", "b", "d", "e"]
    assert csv_of(["user", "n"], paged(read)).splitlines()[:2] == ["user,n", "a,1"]


def test_images_passed_over_are_in_their_own_colours():
    (rules,) = re.findall(r"<style>(.*?)</style>", STYLE, re.S)
    of_images = [rule for rule in rules.split("}") if " img" in rule]

    assert of_images
    assert not [rule for rule in of_images if "opacity" in rule or "filter" in rule]


def test_a_window_of_days_has_the_last_one_whole():
    window = window_of(date(2026, 1, 1), date(2026, 1, 1), None, date.max)

    assert window == Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    assert described(window) == "last choice from 2026-01-01 to 2026-01-01"
    assert described(Window()) == ""


def _groups(count=60):
    rng = np.random.default_rng(0)
    vectors = rng.normal(scale=0.05, size=(count, 8)) + np.eye(8)[np.arange(count) % 3]
    return np.arange(count, dtype=np.int64), vectors.astype(np.float32)


@pytest.mark.parametrize("method", [Method.PCA, Method.TSNE])
def test_a_layout_keeps_groups_together(method):
    sequences, vectors = _groups()

    points = lay_out(sequences, vectors, method).points
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)

    assert points.shape == (60, 2)
    assert (distances.argmin(axis=1) % 3 == sequences % 3).mean() > 0.9


def test_the_plane_of_pca_is_that_of_most_variance():
    sequences, vectors = _groups()
    spectrum = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2

    layout = lay_out(sequences, vectors, Method.PCA)

    assert layout.kept == pytest.approx(spectrum[:2].sum() / spectrum.sum(), rel=1e-4)
    spread = (layout.points.astype(float) ** 2).sum(axis=0)
    np.testing.assert_allclose(spread, spectrum[:2], rtol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("method", list(Method))
def test_few_or_equal_vectors_have_a_layout(count, method):
    vectors = np.ones((count, 4), np.float32) if count else np.zeros((0, 0), np.float32)

    layout = lay_out(np.arange(count, dtype=np.int64), vectors, method)

    assert layout.points.shape == (count, 2)
    assert np.isfinite(layout.points).all()


def test_a_kept_layout_comes_back_and_a_cut_one_does_not(tmp_path):
    layout = Layout(np.array([3, 5]), np.array([[0, 1], [2, 3]], np.float32), 0.5)

    keep_layout(tmp_path, "name", layout)
    again = cached_layout(tmp_path, "name")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])

    assert again.sequences.tolist() == [3, 5]
    np.testing.assert_array_equal(again.points, layout.points)
    assert cached_layout(tmp_path, "name") is None
    assert cached_layout(tmp_path, "another") is None


def test_the_likeness_of_two_maps():
    mine = np.array([0.50, 0.30, 0.10, 0.10], np.float32)

    assert cosine(mine, mine) == pytest.approx(1)
    assert cosine(mine, mine[::-1]) == pytest.approx(0.16 / 0.36)
    assert cosine(mine, np.zeros(4, np.float32)) == 0
    assert cosine(mine.reshape(2, 2), -mine.reshape(2, 2)) == pytest.approx(-1)


def test_the_map_names_the_largest_clusters_and_greys_the_rest():
    points = [
        (ListedUser(f"u{n}", 1, None, 1, None, n), float(n), 0.0, None if n == 0 else n % 10)
        for n in range(40)
    ]
    sizes = cluster_sizes(points)

    drawn = figure(points, {each: f"<b>{each}" for each in sizes})

    names = [trace["name"] for trace in drawn["data"]]
    assert names[0] == "Other clusters, or none"
    assert len(names) == 9
    assert sum(len(trace["x"]) for trace in drawn["data"]) == 40
    markers = [(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in drawn["data"]]
    assert len({colour for colour, _ in markers}) == len({symbol for _, symbol in markers}) == 9
    assert "annotations" not in drawn["layout"], "a label on the plane would cover points"
    assert all(name.startswith("&lt;b>") for name in names[1:]), "names are text, not tags"


def test_attention_is_drawn_as_means_with_a_dot_for_each_order():
    maps = np.array([[0.2, 0.8], [0.4, 0.6]], np.float32)

    drawn = attention_figure(maps, labels((), 2), colour="red", top=1.0, is_share=True)
    bars, dots = drawn["data"]

    assert bars["y"] == pytest.approx([0.3, 0.7])
    assert dots["x"] == [0, 1, 0, 1]
    assert drawn["layout"]["xaxis"]["ticktext"] == ["P1", "P2"]
    assert dots["y"] == pytest.approx([0.2, 0.8, 0.4, 0.6])
    assert drawn["layout"]["yaxis"]["range"] == [0, 1.0]


def test_heads_are_drawn_side_by_side_and_may_be_negative():
    maps = np.array([[0.2, -0.2, 0.5, -0.5]], np.float32)

    drawn = attention_figure(
        maps, labels(((2, 0), (2, 1)), 2), colour="red", top=1.0, is_share=False
    )
    bars, dots = drawn["data"]

    assert bars["x"] == dots["x"] == [0, 1, 2, 3]
    assert bars["text"] == [f"layer 3, head {h} P{t}" for h in (1, 2) for t in (1, 2)]
    axis = drawn["layout"]["xaxis"]
    assert axis["ticktext"] == ["layer 3<br>head 1", "layer 3<br>head 2"]
    assert axis["tickvals"] == [0.5, 2.5]
    assert [each["x0"] for each in drawn["layout"]["shapes"]] == [1.5]
    assert drawn["layout"]["yaxis"]["range"] == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0.0%"), (100_109, 100_120, "99.9%"), (3, 3, "100.0%"), (22, 24, "91.6%")],
)
def test_only_all_of_them_are_a_hundred_per_cent(part, whole, text):
    assert share(part, whole) == text
