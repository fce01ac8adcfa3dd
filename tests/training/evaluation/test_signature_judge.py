"""The signature table on a toy scorer: rivals against their own definitions, and what is said."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from recsys.history import Pair
from recsys.scorer.attention import Normalisation, record_preference_attention
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.signatures.definition import Projection
from recsys.signatures.files import Probe, load_signature_readers, write_signature
from recsys.signatures.probes import Probes, encode_probes, packed_probes, read_probes
from recsys.signatures.reader import SignatureReader
from training.cli.evaluate import evaluate as command
from training.data.features import ImageFeatures
from training.data.samples import PairTable, halves, user_rng
from training.evaluation.history_cuts import cut_histories, reordered
from training.evaluation.metrics import Figure
from training.evaluation.results import plain
from training.evaluation.signature_figures import (
    Agreement,
    Joined,
    NotMeasured,
    Rival,
    Signatures,
)
from training.evaluation.signature_judge import (
    DRIFT_COUNTS,
    FEWEST_USERS,
    SignatureJudge,
    open_signature_judge,
)
from training.evaluation.signature_rivals import mean_over_probes, raw_rivals, show
from training.evaluation.signature_world import agreement, labelled_by_strangers
from training.evaluation.tables.signatures import judge_signatures, section
from training.world.communities import draw_communities, draw_tastes
from training.world.render import encode_jpeg
from training.world.truth import WorldTruth

KINDS: tuple[Normalisation, ...] = ("preference", "full", "log_ratio")
NUM_IMAGES, NUM_USERS, R = 60, FEWEST_USERS + 4, 3
NOTHING_JOINED = NotMeasured("nobody lends")


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    return make_scorer(seed=1, num_references=R, num_preference_tokens=4)


@pytest.fixture(scope="module")
def told_probes(picture) -> list[Probe]:
    prompts = ("a fish", "two fish two fish", "")
    return [
        Probe(encode_jpeg(picture(90 + n).permute(1, 2, 0).numpy()), p)
        for n, p in enumerate(prompts)
    ]


@pytest.fixture(scope="module")
def probes(scorer, picture, told_probes) -> Probes:
    images = [picture(90 + n).float() / 255 for n in range(3)]
    return encode_probes(
        scorer, [CandidateImage(i, p.prompt) for i, p in zip(images, told_probes, strict=True)]
    )


def drawn_histories(num_users: int = NUM_USERS, num_pairs: int = 9) -> PairTable:
    """People who chose among the same images, with prompts of different lengths."""
    rng = np.random.default_rng(5)
    pairs = {}
    for user in range(num_users):
        rows = rng.permutation(NUM_IMAGES)[: 2 * num_pairs].reshape(-1, 2).tolist()
        pairs[f"u{user:02}"] = tuple(Pair(a, b, "two " * (a % 3) + "fish") for a, b in rows)
    digests = (hashlib.sha256(str(row).encode()).hexdigest() for row in range(NUM_IMAGES))
    return PairTable(pairs, tuple(digests))


def truth_of(histories: PairTable) -> WorldTruth:
    rng = np.random.default_rng(8)
    communities = draw_communities(4, seed=0)
    tastes, memberships = draw_tastes(communities, len(histories.pairs), rng)
    digests = [list(bytes.fromhex(name)) for name in histories.images]
    return WorldTruth(
        communities,
        tuple(histories.pairs),
        tastes,
        memberships,
        np.array(digests, dtype=np.uint8),
        rng.uniform(-1, 1, (len(digests), tastes.shape[1])).astype(np.float32),
    )


def projection(width: int, *, heads: tuple[tuple[int, int], ...] = ()) -> Projection:
    rng = np.random.default_rng(width)
    mean, scale = rng.normal(size=width).astype(np.float32), np.ones(width)
    return Projection(mean.astype(np.float64), scale, rng.normal(size=(width, 2)), heads=heads)


@pytest.fixture
def folder(told_probes, tmp_path):
    """A checkpoint's folder with the signature part alone."""
    heads = ((0, 1), (1, 0))
    kinds = {"scores": projection(3), "attention": projection(24, heads=heads)}
    kinds["both"] = projection(27, heads=heads)
    write_signature(tmp_path, told_probes, kinds, num_orders=2, served="both")
    return tmp_path


def references(num_users: int) -> list[tuple[Pair, ...]]:
    """Of different lengths, so that rows of a pass are padded."""
    kept = list(drawn_histories(num_users).pairs.values())
    return [pairs[: 1 + n % R] for n, pairs in enumerate(kept)]


@torch.no_grad()
def mean_attention(scorer, prompts, tokens, probes, kind) -> torch.Tensor:
    """Eq. 6 of one user: the mean over all tokens of the probes."""
    count = scorer.config.num_preference_tokens
    packed, shown = packed_probes(scorer, prompts, tokens, probes)
    with record_preference_attention(count, normalisation=kind) as record:
        scorer.logits(packed, shown)
    of_probes = record.stacked()[:, 0, :, count:][:, :, packed.segments[0] > 0]
    return of_probes.mean(dim=2)


def test_one_pass_shows_what_passes_of_their_own_do(scorer, features, probes) -> None:
    users = references(11)
    shown = show(scorer, users, features, probes)
    for row, pairs in enumerate(users):
        prompts = [[pair.prompt for pair in pairs]]
        tokens = features([image for pair in pairs for image in (pair.liked, pair.disliked)])
        with torch.no_grad():
            expected = read_probes(scorer, prompts, tokens, probes).scores[0]
        np.testing.assert_allclose(shown.scores[row], expected, atol=1e-5)
        for kind in KINDS:
            expected = mean_attention(scorer, prompts, tokens, probes, kind)
            np.testing.assert_allclose(shown.attention[kind][row], expected, atol=1e-5)
        difference = (tokens[0::2] - tokens[1::2]).mean(dim=0).flatten()
        np.testing.assert_allclose(shown.image_difference[row], difference.numpy(), atol=1e-5)


def test_a_mean_over_probes_is_over_each_of_their_tokens_and_no_other(
    scorer, features, probes
) -> None:
    users = references(4)
    shown = features([row for user in users for p in user for row in (p.liked, p.disliked)])
    prompts = [[pair.prompt for pair in user] for user in users]
    packed, tokens = packed_probes(scorer, prompts, shown, probes)
    num_images = sum(2 * len(user) + len(probes.prompts) for user in users)
    assert tokens.shape[0] == num_images
    weights = torch.rand(len(users), 4, packed.segments.shape[1], 3)
    found = mean_over_probes(weights, packed)
    for row, segments in enumerate(packed.segments):
        expected = weights[row][:, segments > 0].mean(dim=1)
        torch.testing.assert_close(found[row], expected)


def test_the_last_hidden_state_is_of_the_references_whatever_is_asked(
    scorer, features, probes
) -> None:
    users = references(5)
    other = Probes(probes.prompts[:1], probes.features[:1] + 1.0)
    one, two = (show(scorer, users, features, each).last_hidden for each in (probes, other))
    np.testing.assert_allclose(one, two, atol=1e-5)
    changed = [(*pairs[:-1], replace(pairs[-1], disliked=77)) for pairs in users]
    assert np.abs(show(scorer, changed, features, probes).last_hidden - one).max() > 1e-3


def test_reorderings_are_averaged_as_the_reader_does(scorer, features, probes) -> None:
    users = references(6)
    reader = SignatureReader(scorer, probes, projection(3), num_orders=3)
    shown = show(scorer, users, features, probes, num_orders=3)
    for pairs, scores in zip(users, shown.scores, strict=True):
        tokens = features([image for pair in pairs for image in (pair.liked, pair.disliked)])
        expected = reader.reading([pair.prompt for pair in pairs], tokens)
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_raw_rivals_are_centred_on_both_halves(scorer, features, probes) -> None:
    users = references(8)
    shown = [show(scorer, part, features, probes) for part in (users[:4], users[4:])]
    table = raw_rivals(shown[0], shown[1])
    assert {"attention_eq6", "last_hidden"} < set(table)
    for name in table:
        np.testing.assert_allclose(np.concatenate(table[name]).mean(axis=0), 0, atol=1e-6)


def test_signatures_are_those_that_are_served(scorer, picture, features, folder) -> None:
    """Of 9 references and a model that reads 3 at once: three parts, as the reader cuts them."""
    table = drawn_histories()
    cuts = cut_histories(table, list(table.pairs), num_references=R, seed=4)
    readers = load_signature_readers(folder, scorer)
    reader = readers.by_readout["both"]
    judge = SignatureJudge(scorer, readers, features, cuts)
    first, second = judge.table()["shipped"]
    whole = judge.whole()
    for row, cut in enumerate(cuts.values()):
        for vectors, pairs in (
            (first, cut.first),
            (second, cut.second),
            (whole, cut.whole),
        ):
            served = reader.read(
                [
                    Reference(picture(p.liked) / 255, picture(p.disliked) / 255, p.prompt)
                    for p in pairs
                ]
            )
            np.testing.assert_allclose(vectors[row], served, atol=1e-5)


def test_one_reading_is_every_readouts(scorer, features, folder) -> None:
    readers = load_signature_readers(folder, scorer)
    asked = ["a fish", ""], features([3, 4, 5, 6])
    found = readers.read_tokens(*asked)
    assert list(found) == ["scores", "attention", "both"]
    for readout, reader in readers.by_readout.items():
        np.testing.assert_allclose(found[readout], reader.read_tokens(*asked), atol=1e-5)


def test_one_stranger_chooses_among_all_of_a_users_images_by_their_own_taste() -> None:
    histories = drawn_histories(num_pairs=24)
    cuts = cut_histories(histories, list(histories.pairs), num_references=10, seed=4)
    truth = truth_of(histories)
    strong = replace(truth, tastes=1e9 * truth.tastes)  # nothing is left to chance
    chosen = labelled_by_strangers(cuts, histories, strong, seed=0)
    utilities = truth.attributes @ truth.tastes.T
    strangers = []
    for user, (cut, pairs) in enumerate(zip(cuts.values(), chosen, strict=True)):
        assert [{p.liked, p.disliked} for p in pairs] == [{p.liked, p.disliked} for p in cut.first]
        assert [p.prompt for p in pairs] == [p.prompt for p in cut.first]
        prefers = np.array([utilities[p.liked] > utilities[p.disliked] for p in pairs]).all(axis=0)
        strangers.append({other for other in np.flatnonzero(prefers) if other != user})
    assert all(strangers), "one other user prefers all that was chosen"
    assert len({next(iter(each)) for each in strangers if len(each) == 1}) > len(cuts) / 2
    assert labelled_by_strangers(cuts, histories, strong, seed=0) == chosen


def test_a_history_is_cut_as_projections_are_fitted(scorer) -> None:
    histories = drawn_histories()
    cuts = cut_histories(histories, list(histories.pairs), num_references=R, seed=4)
    for user, cut in cuts.items():
        pairs = histories.pairs[user]
        assert (cut.first, cut.second) == halves(pairs, user_rng(4, user), num_references=R)
        assert cut.whole == pairs
        for turn in range(4):
            assert reordered(cut.first, turn) != cut.first
            assert set(reordered(cut.first, turn)) == set(cut.first)
    long = {"a": tuple(Pair(n, n + 100, "") for n in range(50)), "b": histories.pairs["u00"][:3]}
    cuts = cut_histories(PairTable(long, ()), ["a", "b"], num_references=R, seed=4)
    assert cuts["a"].whole == long["a"][-32:]  # the newest, oldest first
    assert "b" not in cuts


def test_the_table_is_whole_where_the_truth_is_known(scorer, features, folder) -> None:
    histories = drawn_histories()
    messages: list[str] = []
    asked = (scorer, folder, histories, features, list(histories.pairs))
    judge = open_signature_judge(*asked, progress=messages.append)
    result = judge_signatures(judge, histories, NOTHING_JOINED, truth=truth_of(histories))
    names = "shipped scores attention attention_eq6 attention_full attention_log_ratio probe_scores"
    names += " image_difference last_hidden posterior strangers shipped_whole"
    assert set(result.rivals) == set(names.split())
    for name, row in result.rivals.items():
        kinds = {"taste"} if name == "shipped_whole" else {"taste", "of_ceiling", "mrr"}
        assert set(plain(row)) == kinds, name
        assert all(each["n_users"] == NUM_USERS for each in plain(row).values())
    assert result.rivals["posterior"].of_ceiling.value == 1.0
    tastes = {name: row.taste.value for name, row in result.rivals.items()}
    less = result.shipped_minus.taste.value
    assert less == pytest.approx(tastes["shipped"] - tastes["image_difference"])
    for readout, row in result.minus_scores.items():
        gained = tastes.get(readout, tastes["shipped"]) - tastes["scores"]
        assert row.taste.value == pytest.approx(gained), readout
    assert set(result.minus_scores) == {"attention", "both"}
    assert set(result.drift) == {str(n) for n in DRIFT_COUNTS if n < 9}
    assert result.drift["8"].value > result.drift["2"].value
    assert 0.5 < result.stability.value < 1.0
    assert result.communities.num_clusters == 4
    assert (result.num_users, result.num_references, result.num_whole) == (NUM_USERS, R, 9)
    assert any("first halves, 8 of" in each for each in messages)


def test_without_truth_the_other_half_is_still_looked_for(scorer, features, folder) -> None:
    histories = drawn_histories()
    judge = open_signature_judge(scorer, folder, histories, features, list(histories.pairs))
    result = judge_signatures(judge, histories, NOTHING_JOINED)
    assert all(set(plain(row)) == {"mrr"} for row in result.rivals.values())
    assert "communities" not in plain(result)
    known = truth_of(histories)
    strangers = replace(known, user_ids=tuple(f"x{user}" for user in known.user_ids))
    assert judge_signatures(judge, histories, NOTHING_JOINED, truth=strangers) == result


def test_a_scorer_without_preference_tokens_has_fewer_rows(
    make_scorer, picture, told_probes, tmp_path
) -> None:
    write_signature(tmp_path, told_probes, {"scores": projection(3)}, num_orders=1)
    histories = drawn_histories()
    bare = make_scorer(seed=1, num_references=R, num_preference_tokens=0)
    features = ImageFeatures(bare, picture)
    judge = open_signature_judge(bare, tmp_path, histories, features, list(histories.pairs))
    result = judge_signatures(judge, histories, NOTHING_JOINED)
    rows = {"shipped", "probe_scores", "image_difference", "last_hidden"}
    assert set(result.rivals) == rows


def test_why_nothing_was_measured_is_said(scorer, features, folder, tmp_path_factory) -> None:
    histories = drawn_histories()
    bare = tmp_path_factory.mktemp("bare")
    result = open_signature_judge(scorer, bare, histories, features, list(histories.pairs))
    assert result == NotMeasured("the checkpoint has no signature part: `recsys train` adds one")
    result = open_signature_judge(scorer, folder, histories, features, ["u00", "u01"])
    assert result.why.startswith(f"at least {FEWEST_USERS} users")
    assert result.why.endswith("got 2")


def test_clusters_of_planted_communities_agree_with_them() -> None:
    rng = np.random.default_rng(0)
    communities = rng.integers(0, 3, 60)
    planted = np.eye(3)[communities] + 0.05 * rng.normal(size=(60, 3))
    noise = rng.normal(size=(60, 3))
    assert agreement(planted, communities, num_clusters=3) == 1.0
    assert agreement(noise, communities, num_clusters=3) < 0.3


def test_people_read_the_table_or_why_there_is_none() -> None:
    figure = Figure(0.4567, 0.4, 0.5, n_users=7, n_pairs=56)
    result = Signatures(
        num_users=7,
        num_references=8,
        num_whole=24,
        served="both",
        num_probes=32,
        num_orders=2,
        dimension=16,
        chance_mrr=0.01,
        stability=figure,
        drift={"2": replace(figure, value=0.125)},
        rivals={"shipped": Rival(figure, figure, figure)},
        shipped_minus=Rival(mrr=replace(figure, value=-0.25)),
        joined=Joined(
            0.7,
            num_lenders=601,
            num_classes=8,
            num_choosers=301,
            dimension=61,
            minus_shipped=Rival(replace(figure, value=0.0312)),
        ),
        communities=Agreement(3, 0.75, 0.8, 0.9),
    )
    shown = str(section(result).parts)
    for text in ("7 users", "0.457 (0.400 to 0.500)", "45.7 %", "-0.250", "0.125", "0.75 (ship"):
        assert text in shown, text
    for text in ("8 classes", "601 people", "weight of 0.7", "301 other", "61 numbers", "0.031"):
        assert text in shown, text
    unjoined = section(replace(result, joined=NOTHING_JOINED)).parts
    assert "beside the signature was not measured: nobody lends." in str(unjoined)
    assert section(NotMeasured("no part")).parts == ["Not measured: no part."]


def test_the_command_has_a_switch() -> None:
    assert "--no-signatures" in CliRunner().invoke(command, ["--help"]).output
