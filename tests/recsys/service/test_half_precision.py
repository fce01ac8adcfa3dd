"""A running server in bfloat16: what it answers, what it keeps, and what it says of that."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.client import RecsysClient
from recsys.errors import SettingsRefused
from recsys.ranking.candidates import Candidate, Personalization, Ranking
from recsys.runtime import Runtime, load_model
from recsys.settings import Settings

SHADES = range(0, 256, 17)
NUM_REFERENCES = 24  # as many as the shipped checkpoint reads
LONG = "word " * 200  # cut to the most that a prompt may have


@pytest.fixture
def rank(make_live, candidate, png, tmp_path: Path) -> Callable[..., tuple[Ranking, object]]:
    """Record choices of a user whose prompts are of full length; a ranking, and the service."""

    def rank(dtype: str) -> tuple[Ranking, object]:
        live = make_live(
            load=load_model, checkpoint="tiny", dtype=dtype, image_tokens_folder=str(tmp_path / "t")
        )
        live.load()
        with RecsysClient(live.address, timeout_s=60.0) as client:
            for shade in range(NUM_REFERENCES):
                image, other = png(250 - shade), png(5 + shade)
                client.record_choice("ann", liked=image, passed_over=[other], prompt=LONG)
            asked = [candidate(f"c{shade}", shade) for shade in SHADES]
            stored = [Candidate("stored", "", sha256=candidate("", 250).digest)]
            for _ in range(2):  # cold, then warm
                ranking = client.rank("ann", [*asked, *stored])
        live.service._served.model.image_tokens.flush()
        return ranking, live

    return rank


def scores(ranking: Ranking) -> dict[str, float]:
    return {each.id: each.score for each in ranking.candidates}


def test_it_answers_and_keeps_what_float32_does_in_half_the_memory(
    rank, caplog, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, "recsys.engine.memory")
    (exact, in_float32), (half, in_half) = rank("float32"), rank("bfloat16")
    assert exact.personalization == half.personalization == Personalization.WARM
    assert half.model_version == exact.model_version
    one, other = scores(exact), scores(half)
    assert one != other
    assert other == pytest.approx(one, abs=0.03)
    best, worst = (most(one, key=one.__getitem__) for most in (max, min))
    assert one[best] - one[worst] > 0.06
    assert other[best] > other[worst], "clearly different candidates keep their order"

    kept = [live.engine.stats.cache_bytes for live in (in_float32, in_half)]
    assert kept[0] == 2 * kept[1] > 0
    for live, num_bytes in zip((in_float32, in_half), kept, strict=True):
        assert live.service._served.model.engine.stats.cache_hits == 1
        assert num_bytes <= live.service._runtime.model.max_prefix_bytes
    said = [float(each) for each in re.findall(r"of up to ([\d.]+) MiB each", caplog.text)]
    most = [live.service._runtime.model.max_prefix_bytes for live in (in_float32, in_half)]
    assert most[0] == 2 * most[1]
    assert said == pytest.approx([each / 2**20 for each in most], abs=0.1)
    assert len(list((tmp_path / "t").iterdir())) == 2, "image tokens of two types are apart"


def test_a_cache_too_small_for_one_user_in_this_type_is_refused_at_the_start(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/recsys.db",
        blob_url=f"file://{tmp_path}/blobs",
        checkpoint=str(small_checkpoint),
        dtype="bfloat16",
    )
    with Runtime(settings, creates=True) as runtime:
        one = runtime.model.max_prefix_bytes
    for num_bytes in (one, one - 1):
        exact = settings.model_copy(update={"prefix_cache_bytes": num_bytes})
        with Runtime(exact, creates=True) as runtime:
            if num_bytes == one:
                assert runtime.engine()
                continue
            with pytest.raises(SettingsRefused, match=f"set prefix_cache_bytes to {one} or more"):
                runtime.engine()
