"""Pairs learned a second: one packed pass with M target pairs a user against the authors' way.

    two_passes  a full forward pass for the liked and one for the disliked image of each pair
    packed      the user's references once, all M pairs behind them in the same pass

A step is forward, L_base + L+ + L-, backward and AdamW, from decoded images through the vision
tower (`whole`) or from image tokens encoded before (`decoder`, as the tiny recipe trains). Claims
are ratios of one run: absolute times on a shared machine say little.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from recsys.history import Pair
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import Idefics2Backbone, image_markup
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.packing import pack
from recsys.scorer.template import Template, TemplateConfig
from training.data.samples import Sample, pack_samples, split_pairs
from training.fitting.losses import preference_loss
from training.fitting.pretraining.tiny_base import (
    TINY,
    TWELVE_MILLION,
    TinyShape,
    build_model,
    train_tokenizer,
)

NUM_REFERENCES = 8
TARGET_PAIRS = (1, 4, 16)
ROWS_AT_ONCE = 16
SHAPES = {"tiny": TINY, "12M": TWELVE_MILLION}
PROMPT = "three small fish near the top"

Encode = Callable[[Tensor], Tensor]
"""Rows of the image table -> image tokens."""


def build_scorer(shape: TinyShape) -> PreferenceScorer:
    """A trainable scorer of random weights; time does not depend on them."""
    tokenizer = train_tokenizer([PROMPT], vocabulary=shape.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(shape, vocabulary=len(tokenizer), image_token=image, seed=0)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(shape.num_latents))
    return PreferenceScorer(
        Idefics2Backbone(model), template, geometry=shape.geometry, config=ScorerConfig()
    ).train()


def users(num_users: int, num_pairs: int) -> list[Sample]:
    """So many users of 8 references and M target pairs, all images different."""
    size = 2 * (NUM_REFERENCES + num_pairs)
    samples = []
    for user in range(num_users):
        pairs = [
            Pair(user * size + 2 * place, user * size + 2 * place + 1, PROMPT)
            for place in range(NUM_REFERENCES + num_pairs)
        ]
        samples.append(Sample(tuple(pairs[:NUM_REFERENCES]), tuple(pairs[NUM_REFERENCES:])))
    return samples


def packed(scorer: PreferenceScorer, samples: Sequence[Sample], encode: Encode) -> None:
    """One pass a user; the rows of a step are few enough to go together."""
    count = scorer.config.num_preference_tokens
    rows, order = pack_samples(scorer.template, samples, num_preference_tokens=count)
    liked, disliked = split_pairs(rows, scorer.logits(rows, encode(order)))
    preference_loss(liked, disliked).backward()


def two_passes(scorer: PreferenceScorer, samples: Sequence[Sample], encode: Encode) -> None:
    """A row of its own for every pair and side, in micro-batches of so many pairs."""
    alone = [(sample.references, pair) for sample in samples for pair in sample.pairs]
    for start in range(0, len(alone), ROWS_AT_ONCE // 2):
        chunk = alone[start : start + ROWS_AT_ONCE // 2]
        liked = _full_pass(scorer, [(refs, pair.liked) for refs, pair in chunk], encode)
        disliked = _full_pass(scorer, [(refs, pair.disliked) for refs, pair in chunk], encode)
        (preference_loss(liked, disliked) * len(chunk) / len(alone)).backward()


def _full_pass(
    scorer: PreferenceScorer, rows: Sequence[tuple[Sequence[Pair], int]], encode: Encode
) -> Tensor:
    laid_out = pack(
        [scorer.template.prefix([pair.prompt for pair in references]) for references, _ in rows],
        [[scorer.template.candidate(PROMPT)] for _ in rows],
        first_position=scorer.config.num_preference_tokens,
    )
    order = [
        row
        for references, target in rows
        for row in (*(r for pair in references for r in (pair.liked, pair.disliked)), target)
    ]
    return scorer.logits(laid_out, encode(torch.tensor(order)))[:, 0]


def measure(
    name: str, shape: TinyShape, num_runs: int, console: Console
) -> list[dict[str, object]]:
    """Both ways for each M, from pixels and from image tokens."""
    scorer = build_scorer(shape)
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=1e-5)
    records: list[dict[str, object]] = []
    for num_pairs in TARGET_PAIRS:
        samples = users(max(1, 8 // num_pairs), num_pairs)
        num_images = sum(2 * (NUM_REFERENCES + num_pairs) for _ in samples)
        pixels = torch.rand(num_images, 3, shape.image_px, shape.image_px) * 2 - 1
        with torch.no_grad():
            tokens = scorer.backbone.image_tokens(pixels)
        for scope, encode in (
            ("whole", lambda order, pixels=pixels: scorer.backbone.image_tokens(pixels[order])),
            ("decoder", lambda order, tokens=tokens: tokens[order]),
        ):
            slowest = 0.0
            for way in (two_passes, packed):
                with console.status(f"{name}: {num_pairs} pairs a user, {scope}, {way.__name__}"):
                    took = _median_s(way, scorer, samples, encode, optimizer, num_runs)
                slowest = slowest or took
                records.append(
                    {
                        "model": name,
                        "scope": scope,
                        "pairs_a_user": num_pairs,
                        "way": way.__name__,
                        "pairs_a_second": len(samples) * num_pairs / took,
                        "ratio": slowest / took,
                    }
                )
    return records


def _median_s(
    way: Callable[[PreferenceScorer, Sequence[Sample], Encode], None],
    scorer: PreferenceScorer,
    samples: Sequence[Sample],
    encode: Encode,
    optimizer: torch.optim.Optimizer,
    num_runs: int,
) -> float:
    """Median seconds of a step, after one that is not counted."""
    times = []
    for _ in range(num_runs + 1):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        way(scorer, samples, encode)
        optimizer.step()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def show(records: Sequence[dict[str, object]], console: Console) -> None:
    """Pairs a second and ratio by model, scope and M."""
    table = Table("model", "from", "pairs a user", "way", "pairs a second", "times faster")
    for record in records:
        table.add_row(
            str(record["model"]),
            "pixels" if record["scope"] == "whole" else "image tokens",
            str(record["pairs_a_user"]),
            str(record["way"]).replace("_", " "),
            f"{record['pairs_a_second']:.1f}",
            f"{record['ratio']:.2f}",
        )
    console.print(table)


@click.command()
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--model", type=click.Choice(SHAPES), multiple=True, help="All by default.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default="bench-learning.json"
)
def main(runs: int, threads: int, model: tuple[str, ...], out: Path) -> None:
    """Print the table and write the records beside it."""
    torch.set_num_threads(threads)
    console = Console()
    records = []
    for name in model or SHAPES:
        records += measure(name, SHAPES[name], runs, console)
    show(records, console)
    out.write_text(json.dumps(records, indent=2) + "\n")
    console.print(f"records written to {out}")


if __name__ == "__main__":
    main()
