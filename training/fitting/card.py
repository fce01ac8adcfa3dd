"""A trained scorer's model card, and its place in the package: the last step of `make tiny`."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_MEANING = {
    "unseen.top1": "one liked image against one disliked, people never learned from",
    "unseen.opposed": "pairs on which two people disagree; whatever ignores the person gets 50 %",
    "unseen.shuffled_history": "the same as top1, behind another person's history",
    "unseen.personal": "the difference: what the person's own history is worth",
    "seen.top1": "people learned from, on prompts and images that were not",
    "world.known_taste": "if the taste were known",
    "world.best_possible": "the most that the same references allow (posterior over people)",
    "world.average_taste": "the average taste, the same for everybody",
    "world.gap_closed": "(top1 - average taste) / (best possible - average taste)",
    "baselines.linear.top1": "the best baseline: a linear taste fitted on each person's references",
}

LICENCE = """\
Apache-2.0, like the project. The weights come from random numbers and from what this project's
code makes: drawn scenes, captions from a small grammar, choices of synthetic users and a list of
English words. No one else's weights, images or texts are in them, and nobody's data. NOTICE says
the same of all that the package ships."""

_CARD = """# The tiny preference scorer

A small Idefics2 (the library's own classes and file format) with learnable preference tokens,
trained from nothing by this project on its synthetic world. It is the default so that everything
works on a laptop; it knows drawn scenes, not photographs, and English words of its own world.

- Model version: `{version}`
- Parameters: {parameters}
- Inputs: images at {image_px}×{image_px}, at most {num_references} reference pairs,
  {num_preference_tokens} preference tokens, prompts of at most {max_prompt_tokens} tokens
- Base: {base}
- Stage 1 ({first_steps} steps): LoRA of rank {rank} on the decoder, and the preference tokens, by
  L_base + L+ + L- on the choices of {num_users} people of several worlds (`make tiny`)
- Stage 2 ({second_steps} steps): the preference tokens alone, by the same loss; then probes and
  projections of signatures
- The weights of stage 1 that did best on people held out for that; Q at temperature
  {temperature:.2f}, fitted on the same people
- Seeds: base {base_seed}, stages {first_seed} and {second_seed}; commit {commit}
- Duration on two shared cores, one thread: {duration}

## Figures

{users} people of another world of the same communities (`recsys world create --seed 2`): people and
images that were in no part of the training; {pairs} pairs. Prompts come from one small grammar, so
most of their texts occur in the training too. Mean over people, 95 % interval by bootstrap over
people.

| figure | value | 95 % interval | what it is |
|---|---|---|---|
{rows}

## Licence

{licence}

`make tiny` makes the checkpoint and these figures again.
"""


_INTERLEAVED = """interleaved
  sequences labelled by people who are drawn for one step alone ({steps} steps); no
  community of any world and no choice is seen there"""


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("figures", type=FILE)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--duration",
    default="not measured",
    help="Duration of the whole training, in words, e.g. 95 minutes.",
)
def main(run: Path, figures: Path, out: Path, duration: str) -> None:
    """Copy the final checkpoint of RUN to OUT and write its card from the report FIGURES."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(run / "final", out)
    report = json.loads(figures.read_text())
    (out / "MODEL_CARD.md").write_text(model_card(run, out, report, duration=duration))
    click.echo(f"{out}: {sum(p.stat().st_size for p in out.rglob('*')) / 2**20:.1f} MiB")


def model_card(run: Path, checkpoint: Path, figures: Mapping[str, Any], *, duration: str) -> str:
    """The card's text.

    Args:
        run: folder of the training run, with run.json.
        checkpoint: folder with scorer.json and weights.
        figures: of the evaluation's report.json.
        duration: of the whole training, in words.
    """
    record = json.loads((run / "run.json").read_text())
    scorer = json.loads((checkpoint / "scorer.json").read_text())
    recipe, pretraining = record["recipe"], record.get("pretraining")
    judged = figures["unseen"]["top1"]
    return _CARD.format(
        version=scorer["model_version"],
        parameters=f"{count_parameters(checkpoint) / 1e6:.2f} M",
        image_px=scorer["geometry"]["square_px"],
        num_references=scorer["scorer"]["num_references"],
        num_preference_tokens=scorer["scorer"]["num_preference_tokens"],
        max_prompt_tokens=scorer["template"]["max_prompt_tokens"],
        base=base_history(pretraining),
        first_steps=recipe["first"]["plan"]["num_steps"],
        second_steps=recipe["second"]["plan"]["num_steps"],
        rank=recipe["lora"]["rank"],
        temperature=scorer["scorer"]["temperature"],
        num_users=record["num_users"],
        base_seed=pretraining["recipe"]["seed"] if pretraining else "not known",
        first_seed=recipe["first"]["plan"]["seed"],
        second_seed=recipe["second"]["plan"]["seed"],
        commit=record["commit"],
        duration=duration,
        users=judged["n_users"],
        pairs=judged["n_pairs"],
        rows=figure_rows(figures),
        licence=LICENCE,
    )


def base_history(pretraining: Mapping[str, Any] | None) -> str:
    """What the card says of the base.

    Args:
        pretraining: as run.json has it; None: not known.
    """
    if pretraining is None:
        return "how it was pretrained is not known"
    recipe, start = pretraining["recipe"], pretraining["start"]
    interleaved = _INTERLEAVED.format(steps=recipe["interleaved"]["num_steps"])
    if start is not None:
        return f"begun with that of `{start}`, and pretrained on {interleaved}"
    steps = recipe["captions"]["num_steps"]
    return f"pretrained on captions ({steps} steps, attributes read besides) and on {interleaved}"


def figure_rows(figures: Mapping[str, Any]) -> str:
    """Rows of a Markdown table, one for each figure that the report has."""
    rows = []
    for name, meaning in _MEANING.items():
        figure: Any = figures
        for part in name.split("."):
            figure = figure.get(part) if figure else None
        if figure:
            interval = f"{figure['low']:.1%} to {figure['high']:.1%}"
            rows.append(f"| {name} | {figure['value']:.1%} | {interval} | {meaning} |")
    return "\n".join(rows)


def count_parameters(checkpoint: Path) -> int:
    """Number of parameters in all weight files of a checkpoint."""
    from safetensors import safe_open

    total = 0
    for path in checkpoint.rglob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  (the file is no mapping)
                shape = file.get_slice(name).get_shape()
                total += int(math.prod(shape))
    return total


if __name__ == "__main__":
    main()
