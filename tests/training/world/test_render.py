from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from PIL import Image

from training.world._palette import hue_of, shades
from training.world.render import decode_jpeg, encode_jpeg, render
from training.world.scenes import (
    ATTRIBUTES,
    SUBJECTS,
    Scene,
    attributes,
    sample_prompt,
    sample_scene,
)

PLAIN = Scene("boat", 2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.5, seed=4)


def luminance(rgb):
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("size_px", [16, 64, 128])
def test_the_same_scene_gives_the_same_pixels_and_bytes(size_px):
    first, second = render(PLAIN, size_px), render(PLAIN, size_px)
    assert first.shape == (size_px, size_px, 3)
    assert np.array_equal(first, second)
    assert encode_jpeg(first) == encode_jpeg(second)


def test_sizes_show_the_same_picture():
    large = Image.fromarray(render(PLAIN, 192)).resize((64, 64), Image.Resampling.BOX)
    difference = np.abs(np.asarray(large, dtype=np.float64) - render(PLAIN, 64))
    assert difference.mean() < 3


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="at least 16, got 15"):
        render(PLAIN, 15)


def test_jpeg_stays_near_the_pixels():
    rgb = render(PLAIN)
    read = decode_jpeg(encode_jpeg(rgb)).astype(np.float64)
    assert np.abs(read - rgb).mean() < 3


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_corner_of_the_space_can_be_drawn(subject):
    for count, corner in product((1, 5), product((0.0, 1.0), repeat=3)):
        size, height, tone = corner
        scene = Scene(subject, count, size, height, tone, tone, 1 - tone, tone, size, seed=count)
        assert np.ptp(render(scene, 32)) > 0


def test_brightness_moves_lightness():
    levels = [luminance(render(replace(PLAIN, brightness=b))).mean() for b in (0.0, 0.5, 1.0)]
    assert levels[0] + 30 < levels[1] < levels[2] - 30


def test_warmth_moves_red_against_blue():
    cold, warm = (render(replace(PLAIN, warmth=w)).astype(np.float64) for w in (0.0, 1.0))
    assert (cold[..., 2] - cold[..., 0]).mean() > 20
    assert (warm[..., 0] - warm[..., 2]).mean() > 20


def test_saturation_parts_the_channels():
    grey, vivid = (np.ptp(render(replace(PLAIN, saturation=s)), axis=2) for s in (0.0, 1.0))
    assert vivid.mean() > 2 * grey.mean()


def test_texture_roughens_the_background():
    corner = np.s_[:40, :40]
    smooth, rough = (luminance(render(replace(PLAIN, texture=t)))[corner] for t in (0.0, 1.0))
    assert rough.std() > 3 * smooth.std()


def test_contrast_and_size_and_count_change_how_much_stands_out():
    def standing_out(scene):
        light = luminance(render(scene))
        return np.abs(light - np.median(light)) > 30

    assert (
        standing_out(replace(PLAIN, contrast=1.0)).mean()
        > standing_out(replace(PLAIN, contrast=0.0)).mean()
    )
    bold = replace(PLAIN, contrast=1.0)
    assert (
        standing_out(replace(bold, size=1.0)).mean()
        > 2 * standing_out(replace(bold, size=0.0)).mean()
    )
    small = replace(bold, size=0.2)
    assert (
        standing_out(replace(small, count=4)).mean()
        > 2 * standing_out(replace(small, count=1)).mean()
    )


def test_height_moves_the_figures_up():
    bold = replace(PLAIN, contrast=1.0, size=0.3)

    def mean_row(scene):
        light = luminance(render(scene))
        rows, _ = np.nonzero(np.abs(light - np.median(light)) > 40)
        return rows.mean()

    assert mean_row(replace(bold, height=1.0)) + 30 < mean_row(replace(bold, height=0.0))


def test_the_seed_moves_what_nobody_has_a_taste_for():
    pictures = [render(replace(PLAIN, seed=seed), 32) for seed in range(4)]
    assert all(np.abs(pictures[0].astype(int) - other).mean() > 1 for other in pictures[1:])


def test_surface_attributes_can_be_read_off_together():
    """A linear fit on a few pixel statistics finds them on images it has not seen."""
    rng = np.random.default_rng(0)
    scenes = [sample_scene(sample_prompt(rng), rng) for _ in range(700)]
    seen = np.stack([statistics(render(scene, 64)) for scene in scenes])
    truth = np.stack([attributes(scene) for scene in scenes])
    seen = (seen - seen[:500].mean(axis=0)) / seen[:500].std(axis=0)
    seen = np.concatenate([seen, seen**2, np.ones((700, 1))], axis=1)
    ridge = seen[:500].T @ seen[:500] + np.eye(seen.shape[1])
    read = seen[500:] @ np.linalg.solve(ridge, seen[:500].T @ truth[:500])
    error = ((read - truth[500:]) ** 2).mean(axis=0) / truth[500:].var(axis=0)
    r2 = dict(zip(ATTRIBUTES, 1 - error, strict=True))
    assert r2["brightness"] > 0.95
    assert r2["warmth"] > 0.8
    assert r2["saturation"] > 0.8
    assert r2["texture"] > 0.8
    assert r2["contrast"] > 0.6


def statistics(rgb):
    pixels = rgb.astype(np.float64) / 255
    light = luminance(pixels)
    chroma = np.ptp(pixels, axis=2)
    warm = (pixels[..., 0] - pixels[..., 2]) / (pixels.max(axis=2) + 0.1)
    levels = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]
    steps = np.abs(np.diff(light, axis=0))[:, :-1] + np.abs(np.diff(light, axis=1))[:-1]
    fields = [light, chroma, chroma / (pixels.max(axis=2) + 0.01), warm, steps]
    values = [np.append(np.quantile(field, levels), field.mean()) for field in fields]
    return np.concatenate([*values, [warm.mean() / (chroma.mean() + 0.02), light.std()]])


@pytest.mark.parametrize("through_green", [True, False])
def test_hues_run_from_blue_to_orange_on_either_side(through_green):
    assert hue_of(1.0, through_green=through_green) == 55
    assert hue_of(0.0, through_green=through_green) == 235
    middle = hue_of(0.5, through_green=through_green)
    assert middle == (145 if through_green else 325)


@pytest.mark.parametrize("hue", [0.0, 90.0, 200.0, 300.0])
def test_shades_grow_lighter_and_stay_within_what_a_screen_shows(hue):
    table = shades(hue, 1.0).table
    light = luminance(table)
    assert light[0] == pytest.approx(0, abs=1)
    assert light[-1] == pytest.approx(255, abs=1)
    assert np.diff(light).min() > -1.5


def test_a_shade_beyond_white_or_black_is_white_or_black():
    own = shades(30.0, 0.5)
    assert own.at(1.4) == own.at(1.0)
    assert own.at(-0.3) == own.at(0.0)
