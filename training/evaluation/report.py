"""A judgement as files: report.json for programs, and report.html, a page that needs no network."""

import json
import re
from itertools import count
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from storage.files import replace_file
from training.evaluation.results import Results, as_json
from training.evaluation.section import Grid, Plot
from training.evaluation.summary import picture, summary


def write_report(results: Results, folder: Path) -> None:
    """Write report.json and report.html, each whole or not at all.

    Numbers that are not finite become null in JSON, and a dash on the page.

    Args:
        results: of `training.evaluation.evaluate.evaluate`.
        folder: made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(as_json(results), indent=2, allow_nan=False) + "\n"
    for name, text in (("report.json", figures), ("report.html", render(results))):
        with replace_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def render(results: Results) -> str:
    """The page: the summary and its picture, then a section a table that was measured."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests |= {
        "grid": lambda part: isinstance(part, Grid),
        "plot": lambda part: isinstance(part, Plot),
    }
    numbers = count(1)

    def svg(plot: Plot) -> Markup:
        return Markup(with_own_ids(plot.draw(), f"plot{next(numbers)}-"))

    environment.filters["svg"] = svg
    return environment.get_template("report.html.j2").render(
        r=results,
        summary=summary(results),
        picture=picture(results),
        sections=list(results.sections()),
    )


def with_own_ids(svg: str, prefix: str) -> str:
    """The same picture with a prefix to each id, for ids must be unique in a page.

    Args:
        svg: whose references are `href="#id"` and `url(#id)`.
        prefix: a word that begins with a letter.
    """
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
