"""Time of scoring C candidates for one user, four ways, in one run.

    per_candidate  one full pass a candidate, as the authors' code does it
    batch          the same full passes in one batch
    packed_cold    the user's references once, all candidates behind them in one pass
    packed_warm    all candidates behind references read earlier

Every way starts from decoded RGB images and includes the vision tower. Claims are ratios of one
run: absolute times on a shared machine say little.
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

from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import Idefics2Backbone, image_markup
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.scorer.packing import pack
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.tiny_base import (
    TINY,
    TWELVE_MILLION,
    TinyShape,
    build_model,
    train_tokenizer,
)

NUM_REFERENCES = 8
CANDIDATES = (4, 16, 64)
PROMPT = "three small fish near the top"
Way = Callable[[PreferenceScorer, Sequence[Reference], Sequence[CandidateImage]], torch.Tensor]


def per_candidate(
    scorer: PreferenceScorer, references: Sequence[Reference], candidates: Sequence[CandidateImage]
) -> torch.Tensor:
    """One full pass for each candidate."""
    return torch.cat([batch(scorer, references, [candidate]) for candidate in candidates])


@torch.no_grad()
def batch(
    scorer: PreferenceScorer, references: Sequence[Reference], candidates: Sequence[CandidateImage]
) -> torch.Tensor:
    """All full passes as rows of one batch."""
    prefix = scorer.template.prefix([reference.prompt for reference in references])
    packed = pack(
        [prefix] * len(candidates),
        [[scorer.template.candidate(candidate.prompt)] for candidate in candidates],
        first_position=scorer.config.num_preference_tokens,
    )
    shown = [image for each in references for image in (each.liked, each.disliked)]
    images = [image for candidate in candidates for image in (*shown, candidate.image)]
    return scorer.logits(packed, scorer.image_features(images))[:, 0]


def packed_cold(
    scorer: PreferenceScorer, references: Sequence[Reference], candidates: Sequence[CandidateImage]
) -> torch.Tensor:
    """Read the references, then score all candidates behind them."""
    return scorer.score(scorer.prefix(references), candidates)


def warm(references: Sequence[Reference], scorer: PreferenceScorer) -> Way:
    """Score all candidates behind references that were read before the clock starts."""
    prefix = scorer.prefix(references)
    return lambda model, _, candidates: model.score(prefix, candidates)


def build_scorer(shape: TinyShape) -> PreferenceScorer:
    """A scorer of random weights; time does not depend on them."""
    tokenizer = train_tokenizer([PROMPT], vocabulary=shape.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(shape, vocabulary=len(tokenizer), image_token=image, seed=0)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(shape.num_latents))
    return PreferenceScorer(
        Idefics2Backbone(model), template, geometry=shape.geometry, config=ScorerConfig()
    ).eval()


def median_s(way: Way, *arguments: object, num_runs: int) -> float:
    """Median wall time in seconds, after one run that is not counted.

    What is quick is run more often, up to a second in all or 20 times: on a shared machine a few
    milliseconds alone say little.
    """
    times: list[float] = []
    while len(times) < num_runs + 1 or (sum(times[1:]) < 1.0 and len(times) < 21):
        began = time.perf_counter()
        way(*arguments)  # type: ignore[arg-type]
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def measure(
    name: str, shape: TinyShape, num_runs: int, console: Console
) -> list[dict[str, object]]:
    """All four ways for each number of candidates."""
    scorer = build_scorer(shape)
    side = shape.image_px
    images = torch.rand(2 * NUM_REFERENCES + max(CANDIDATES), 3, side, side)
    references = [
        Reference(images[2 * i], images[2 * i + 1], PROMPT) for i in range(NUM_REFERENCES)
    ]
    records: list[dict[str, object]] = []
    for count in CANDIDATES:
        candidates = [CandidateImage(image, PROMPT) for image in images[-count:]]
        ways: dict[str, Way] = {
            "per_candidate": per_candidate,
            "batch": batch,
            "packed_cold": packed_cold,
            "packed_warm": warm(references, scorer),
        }
        base = 0.0
        for path, way in ways.items():
            with console.status(f"{name}: {count} candidates, {path}"):
                took = median_s(way, scorer, references, candidates, num_runs=num_runs)
            base = base or took
            records.append(
                {
                    "model": name,
                    "parameters": sum(p.numel() for p in scorer.parameters()),
                    "references": NUM_REFERENCES,
                    "candidates": count,
                    "path": path,
                    "median_s": took,
                    "ratio": base / took,
                }
            )
    return records


def show(records: Sequence[dict[str, object]], console: Console) -> None:
    """Time and ratio by model and number of candidates."""
    table = Table("model", "parameters", "candidates", "path", "median ms", "times faster")
    for record in records:
        table.add_row(
            str(record["model"]),
            f"{record['parameters'] / 1e6:.1f} M",  # type: ignore[operator]
            str(record["candidates"]),
            str(record["path"]),
            f"{record['median_s'] * 1e3:.1f}",  # type: ignore[operator]
            f"{record['ratio']:.1f}",
        )
    console.print(table)


@click.command()
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="bench.json")
def main(runs: int, threads: int, out: Path) -> None:
    """Print the table and write the records beside it."""
    torch.set_num_threads(threads)
    console = Console()
    records = []
    for name, shape in (("tiny", TINY), ("12M", TWELVE_MILLION)):
        records += measure(name, shape, runs, console)
    show(records, console)
    out.write_text(json.dumps(records, indent=2) + "\n")
    console.print(f"records written to {out}")


if __name__ == "__main__":
    main()
