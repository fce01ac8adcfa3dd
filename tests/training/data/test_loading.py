"""Images from a real store: in order, in bounded memory, and around those that are broken."""

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from rich.console import Console

from recsys.history import Pair
from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import Idefics2Backbone, image_markup
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.template import Template, TemplateConfig
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from training.data.encoding import Fresh, Upcoming, encode_all
from training.data.loading import (
    ImageBatches,
    ImageCount,
    TooManyBadImages,
    default_workers,
    read_images,
    stream_images,
)
from training.data.samples import PairTable, Sample
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer
from training.fitting.recipes.tiny import tiny
from training.fitting.stages import stage_batches

LIMITS = ImageLimits()


def png(value: int, side: int = 8) -> bytes:
    file = io.BytesIO()
    pixels = np.full((side, side, 3), value % 256, dtype=np.uint8)
    pixels[0, 0] = value // 256
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Place:
    """A store with images in it, and its URLs."""

    def __init__(self, folder: Path, count: int, side: int = 8) -> None:
        self.urls = f"sqlite:///{folder / 'recsys.db'}", f"file://{folder / 'blobs'}"
        database = Database(self.urls[0])
        upgrade(database)
        self.store = HistoryStore(database, BlobStore(self.urls[1]))
        self.names = [self.store.blobs.put(png(n, side)) for n in range(count)]
        self.folder = folder

    def spoil(self, name: str) -> None:
        path = next((self.folder / "blobs").rglob(f"*{name}*"))
        path.write_bytes(path.read_bytes()[:20])

    def batches(self, size: int) -> list[list[str]]:
        return [self.names[start : start + size] for start in range(0, len(self.names), size)]


def small_scorer() -> PreferenceScorer:
    shape = TinyShape(
        image_px=16,
        vision_width=16,
        vision_layers=1,
        num_latents=2,
        width=32,
        layers=1,
        mlp_width=32,
    )
    tokenizer = train_tokenizer(["a fish"], vocabulary=400)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(shape, vocabulary=len(tokenizer), image_token=image, seed=0)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(2))
    return PreferenceScorer(
        Idefics2Backbone(model), template, geometry=shape.geometry, config=ScorerConfig()
    )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, 12)


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_come_in_order(place: Place, num_workers: int) -> None:
    count = ImageCount()
    stream = stream_images(
        *place.urls, place.batches(5), count=count, limits=LIMITS, num_workers=num_workers
    )
    values = [[int(image[0, 1, 1]) for image in batch.values()] for batch in stream]
    assert values == [list(range(5)), list(range(5, 10)), [10, 11]]
    assert count.num_read == 12
    assert 0 <= count.waiting_share <= 1


def test_a_corrupt_and_a_missing_image_are_named(place: Place) -> None:
    place.spoil(place.names[3])
    images, bad = read_images(place.store, [*place.names[:5], "0" * 64], limits=LIMITS)
    assert bad == [place.names[3], "0" * 64]
    assert list(images) == [place.names[n] for n in (0, 1, 2, 4)]


def test_bytes_of_another_image_are_named(place: Place) -> None:
    path = next((place.folder / "blobs").rglob(f"*{place.names[3]}*"))
    path.write_bytes(place.store.image(place.names[4]))
    images, bad = read_images(place.store, place.names, limits=LIMITS)
    assert bad == [place.names[3]]
    assert len(images) == 11


def test_an_image_beyond_the_limits_is_named(place: Place) -> None:
    large = place.store.blobs.put(png(0, side=9))
    count, limits = ImageCount(), ImageLimits(max_pixels=64)
    assert read_images(place.store, [place.names[0], large], limits=limits)[1] == [large]
    with pytest.raises(TooManyBadImages, match="got 1 of 2"):
        list(stream_images(*place.urls, [[place.names[0], large]], count=count, limits=limits))
    assert count.bad == [large]
    fresh = Fresh(small_scorer(), place.store, [*place.names, large], limits=limits)
    assert fresh.find_bad([0, 12]) == fresh.of(small_scorer()).find_bad([0, 12]) == {12}


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_large_images_are_resized_before_they_are_sent(tmp_path: Path, num_workers: int) -> None:
    """Beyond twice the model's sides they would be more bytes than the model's size in float32."""
    place = Place(tmp_path, 0)
    names = [place.store.blobs.put(png(n, side)) for n, side in enumerate((16, 32, 40))]
    (images,) = stream_images(
        *place.urls,
        [names],
        count=ImageCount(),
        limits=LIMITS,
        geometry=ImageGeometry(square_px=16),
        num_workers=num_workers,
    )
    sizes = [(images[name].dtype, images[name].shape[-1]) for name in names]
    assert sizes == [(torch.uint8, 16), (torch.uint8, 32), (torch.float32, 16)]
    scorer, alone = small_scorer(), read_images(place.store, names, limits=LIMITS)[0]
    with torch.no_grad():
        tokens = [scorer.image_features([each[name] for name in names]) for each in (images, alone)]
    assert torch.equal(*tokens)


@pytest.mark.parametrize(
    ("device", "num_cores", "num_trainers", "expected"),
    [
        ("cpu", 16, "1", 0),
        ("cuda", 16, "1", 8),
        ("cuda:1", 16, "4", 3),
        ("cuda", 2, "1", 1),
        ("cuda", 2, "8", 1),
    ],
)
def test_a_gpu_gets_workers_of_its_share_of_the_cores(
    monkeypatch, device, num_cores, num_trainers, expected
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(num_cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", num_trainers)
    assert default_workers(device) == expected


def test_what_is_sent_owns_its_memory(place: Place) -> None:
    """A tensor that the sending thread frees while its process ends aborts the process."""
    images, _ = ImageBatches(*place.urls, place.batches(3), limits=LIMITS)[0]
    assert len(images) == 3
    assert all(image.flags.owndata for image in images.values())


@pytest.mark.slow
def test_workers_hold_no_file_for_an_image(tmp_path: Path) -> None:
    place = Place(tmp_path, 300)
    process = psutil.Process()
    stream = stream_images(
        *place.urls, place.batches(100), count=ImageCount(), limits=LIMITS, num_workers=1
    )
    kept = [next(stream)]
    before = process.num_fds()
    kept += stream
    assert sum(map(len, kept)) == 300
    assert process.num_fds() <= before


def test_one_in_a_hundred_is_skipped_and_counted(tmp_path: Path) -> None:
    place = Place(tmp_path, 200)
    place.spoil(place.names[77])
    count = ImageCount()
    batches = list(stream_images(*place.urls, place.batches(50), count=count, limits=LIMITS))
    assert [len(batch) for batch in batches] == [50, 49, 50, 50]
    assert count.bad == [place.names[77]]


def test_more_than_one_in_a_hundred_stops_the_run_and_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path, 150)
    for name in place.names[10:13]:
        place.spoil(name)
    # Judged as soon as a hundred were read.
    with pytest.raises(TooManyBadImages, match=f"got 3 of 100.*{place.names[10][:12]}"):
        list(stream_images(*place.urls, place.batches(50), count=ImageCount(), limits=LIMITS))


def test_few_images_are_judged_at_the_end(place: Place) -> None:
    place.spoil(place.names[0])
    with pytest.raises(TooManyBadImages, match="got 1 of 12"):
        list(stream_images(*place.urls, place.batches(6), count=ImageCount(), limits=LIMITS))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Decoded, they would take 2,000 x 96 KiB = 190 MB at once."""
    place = Place(tmp_path, 2000, side=180)
    process = psutil.Process()
    highest, before = 0, 0
    stream = stream_images(*place.urls, place.batches(20), count=ImageCount(), limits=LIMITS)
    for number, batch in enumerate(stream):
        if number == 10:
            before = process.memory_info().rss
        highest = max(highest, process.memory_info().rss)
        assert len(batch) == 20
    assert highest - before < 30e6


def test_a_corrupt_image_in_the_middle_of_training_is_left_out(tmp_path: Path) -> None:
    place = Place(tmp_path, 300)
    place.spoil(place.names[2])

    fresh = Fresh(small_scorer(), place.store, place.names, limits=LIMITS)
    everything = [Sample((), tuple(Pair(n, n + 1, "") for n in range(50, 300, 2)))]
    fresh.read(everything, (0, 0))
    samples, encode = fresh.read(
        [Sample((Pair(0, 1, ""), Pair(2, 3, "")), (Pair(4, 5, ""),))], (0, 1)
    )
    assert samples == [Sample((Pair(0, 1, ""),), (Pair(4, 5, ""),))]
    assert encode([0, 1, 4, 5]).shape == (4, 2, 32)
    assert fresh.figures() == {"bad_images": 1.0}
    assert fresh.bad == {2}


def test_images_that_are_about_to_be_read_can_be_tried_first(tmp_path: Path) -> None:
    place = Place(tmp_path, 300)
    place.spoil(place.names[2])
    quiet = Console(quiet=True)

    fresh = Fresh(small_scorer(), place.store, place.names, limits=LIMITS)
    assert fresh.find_bad(range(50, 250)) == set()
    assert fresh.find_bad([4, 2, 2, 3]) == {2}
    assert fresh.bad == {2}
    once = encode_all(
        small_scorer(), place.store, place.names, range(300), limits=LIMITS, console=quiet
    )
    assert once.find_bad([4, 2]) == {2}
    assert once.find_bad([4]) == set()


def test_what_no_worker_reads_ahead_is_read_by_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, 4)
    fresh = Fresh(small_scorer(), place.store, place.names, limits=LIMITS)
    alone = fresh.rows([3, 0])
    both = threading.Barrier(2, timeout=10)
    read = HistoryStore.image

    def image(store: HistoryStore, sha256: str) -> bytes:
        both.wait()  # nobody comes by here alone
        return read(store, sha256)

    monkeypatch.setattr(HistoryStore, "image", image)
    assert fresh.find_bad([1, 2]) == set()
    torch.testing.assert_close(fresh.rows([3, 0]), alone)


def test_console_is_told_of_bad_images(tmp_path: Path) -> None:
    place = Place(tmp_path, 300)
    place.spoil(place.names[7])

    console = Console(record=True, quiet=False, file=io.StringIO(), width=200)
    encoded = encode_all(
        small_scorer(), place.store, place.names, range(300), limits=LIMITS, console=console
    )
    assert encoded.bad == {7}
    with pytest.raises(KeyError, match="readable images, that of row 7 is not"):
        encoded.rows([8, 7])
    assert encoded.rows([8]).abs().sum() > 0
    assert place.names[7] in console.export_text()


def test_a_row_that_was_not_encoded_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path, 4)
    quiet = Console(quiet=True)
    encoded = encode_all(
        small_scorer(), place.store, place.names, [0, 2], limits=LIMITS, console=quiet
    )
    assert encoded.rows([2, 0, 2]).shape == (3, 2, 32)
    assert encoded.rows([]).shape == (0, 2, 32)
    with pytest.raises(KeyError, match="row 3 is not"):
        encoded.rows([0, 3])


def test_a_table_has_the_rows_that_were_asked_for_alone_and_stays_on_the_host(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, 40)
    scorer = small_scorer()
    encoded = encode_all(
        scorer, place.store, place.names, [30, 2], limits=LIMITS, console=Console(quiet=True)
    )
    assert encoded.table.shape == (2, 2, 32)
    alone = Fresh(scorer, place.store, place.names, limits=LIMITS)
    torch.testing.assert_close(encoded.rows([2, 30]), alone.rows([2, 30]))
    elsewhere = replace(encoded, device=torch.device("meta"))
    assert elsewhere.rows([2]).is_meta
    assert elsewhere.table.device.type == "cpu"


@pytest.mark.slow
def test_workers_read_ahead_what_each_part_asks_for(tmp_path: Path) -> None:
    place = Place(tmp_path, 240)
    pairs = {
        f"u{user}": tuple(Pair(60 * user + 2 * n, 60 * user + 2 * n + 1, "") for n in range(30))
        for user in range(4)
    }
    recipe = replace(tiny(), first=replace(tiny().first, num_users=2, num_pairs=2))
    drawn = stage_batches(PairTable(pairs, tuple(place.names)), recipe, recipe.first)
    fresh = Fresh(small_scorer(), place.store, place.names, limits=LIMITS)
    plain = Fresh(small_scorer(), place.store, place.names, limits=LIMITS)
    fresh.prepare(Upcoming(drawn, 3, range(1, 4, 2), num_workers=1))
    for at in ((1, 1), (1, 3), (2, 1), (2, 3)):  # a run that goes on with step 1
        samples = drawn.draw(*at)
        rows = [pair.liked for sample in samples for pair in sample.pairs]
        (kept, ahead), (_, alone) = (each.read(samples, at) for each in (fresh, plain))
        assert kept == samples
        assert torch.equal(ahead(rows), alone(rows))
    assert set(fresh.figures()) == {"bad_images", "waiting"}
