"""The page's pieces of HTML: pure functions; text from outside is escaped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape


class Opinion(Enum):
    """A user's opinion of an image: a mark, a word and a style, never a colour alone."""

    LIKED = ("♥", "Liked", "liked")
    PASSED_OVER = ("✕", "Passed over", "passed")
    PLAIN = ("", "", "plain")


class Act(Enum):
    """What a click on an image does: the attribute that tells the page, and words for it."""

    OPEN = ("open", "show large")
    PICK = ("pick", "compare on this image")


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image as the page shows it.

    Attributes:
        address: a data URI; None if the image cannot be read.
        opinion: the mark on it.
        text: alternative text and tooltip.
        note: a short line below; empty for none.
        sha256: of the image; empty for one that cannot be clicked on.
        act: what a click does.
        is_picked: whether it is the one that was picked.
    """

    address: str | None
    opinion: Opinion = Opinion.PLAIN
    text: str = ""
    note: str = ""
    sha256: str = ""
    act: Act = Act.OPEN
    is_picked: bool = False


def picture(shown: ShownImage) -> str:
    """One image with its mark."""
    mark, word, style = shown.opinion.value
    text = escape(" · ".join(part for part in (word, shown.text) if part), quote=True)
    if shown.address is None:
        inner = "<span class='rs-gone'>cannot be read</span>"
    else:
        inner = f"<img src='{escape(shown.address, quote=True)}' alt='{text}' loading='lazy'>"
    badge = f"<span class='rs-mark' aria-hidden='true'>{mark}</span>" if mark else ""
    note = f"<figcaption>{escape(shown.note)}</figcaption>" if shown.note else ""
    frame = _frame(shown, text, inner + badge)
    return f"<figure class='rs-pic rs-{style}' title='{text}'>{frame}{note}</figure>"


def _frame(shown: ShownImage, text: str, inner: str) -> str:
    """The image itself: a button, if there is something to click on."""
    if shown.address is None or not shown.sha256:
        return f"<span class='rs-frame'>{inner}</span>"
    act, does = shown.act.value
    pressed = f" aria-pressed='{str(shown.is_picked).lower()}'" if shown.act is Act.PICK else ""
    label = f"{text}: {does}" if text else does
    return (
        f"<button type='button' class='rs-frame' data-{act}='{escape(shown.sha256, quote=True)}'"
        f" aria-label='{label}'{pressed}>{inner}</button>"
    )


def large_picture(address: str | None, below: str) -> str:
    """One image as large as there is room, with a line below."""
    if address is None:
        inner = "<span>cannot be read</span>"
    else:
        inner = f"<img src='{escape(address, quote=True)}' alt='The image in full'>"
    return f"<figure class='rs-large'>{inner}<figcaption>{escape(below)}</figcaption></figure>"


def gallery(pictures: Iterable[ShownImage], *, size: str = "m") -> str:
    """Images side by side; size is "s", "m" or "l"."""
    return f"<div class='rs-gallery rs-{size}'>{''.join(picture(each) for each in pictures)}</div>"


def choice_card(
    prompt: str, liked: ShownImage | None, passed_over: Sequence[ShownImage], *, when: str
) -> str:
    """One choice: the liked image large, those passed over beside it, and the prompt."""
    text = escape(prompt) if prompt else "<em>no prompt</em>"
    left = f"<div><h5>♥ Liked</h5>{picture(liked)}</div>" if liked else ""
    right = ""
    if passed_over:
        pictures = "".join(picture(each) for each in passed_over)
        right = f"<div><h5>✕ Passed over</h5><div class='rs-passed-over'>{pictures}</div></div>"
    return (
        f"<article class='rs-choice'><div class='rs-pair'>{left}{right}</div>"
        f"<p class='rs-prompt'>{text}</p><p class='rs-when'>{escape(when)}</p></article>"
    )


def choice_grid(cards: Iterable[str]) -> str:
    """Choices side by side, as many as there is room for."""
    return f"<div class='rs-choices'>{''.join(cards)}</div>"


def tiles(facts: Sequence[tuple[str, str, str]]) -> str:
    """Figures in a row: label, value, and a small line below (may be empty)."""
    inner = "".join(
        f"<div class='rs-tile'><span class='rs-label'>{escape(label)}</span>"
        f"<span class='rs-value'>{escape(value)}</span>"
        f"<span class='rs-note'>{escape(note)}</span></div>"
        for label, value, note in facts
    )
    return f"<div class='rs-tiles'>{inner}</div>"


def chips(words: Iterable[str], *, style: str = "") -> str:
    """Words in small frames."""
    inner = "".join(f"<span class='rs-chip {style}'>{escape(word)}</span>" for word in words)
    return f"<div class='rs-chips'>{inner}</div>"


def title(text: str, *, over: str = "", below: str = "") -> str:
    """A view's heading: a small line over it, a sentence below."""
    above = f"<p class='rs-over'>{escape(over)}</p>" if over else ""
    lead = f"<p class='rs-lead'>{escape(below)}</p>" if below else ""
    return f"<div class='rs-title'>{above}<h2>{escape(text)}</h2>{lead}</div>"


def title_line(text: str, note: str) -> str:
    """A card's first line: a name, and a note at the right."""
    return f"<div class='rs-card-head'><b>{escape(text)}</b><span>{escape(note)}</span></div>"


def note(text: str) -> str:
    """A small line that says what follows."""
    return f"<p class='rs-over'>{escape(text)}</p>"


def cluster_title(cluster_id: int, name: str | None) -> str:
    """What a cluster is called: its number, and the name that it was given."""
    return f"Cluster {cluster_id} · {name}" if name else f"Cluster {cluster_id}"


def section(text: str, *, below: str = "") -> str:
    """A heading within a view."""
    lead = f"<p class='rs-lead'>{escape(below)}</p>" if below else ""
    return f"<div class='rs-section'><h3>{escape(text)}</h3>{lead}</div>"


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Words with a bar and a note each: label, length from 0 to 1, note."""
    inner = "".join(
        f"<div class='rs-bar'><span>{escape(label)}</span><i><b style='width:{width:.0%}'></b></i>"
        f"<small>{escape(note)}</small></div>"
        for label, width, note in (
            (name, min(max(part, 0.0), 1.0), tail) for name, part, tail in rows
        )
    )
    return f"<div class='rs-bars'>{inner}</div>"


def told(message: str) -> str:
    """A message as a command would print it, what it quotes by `backticks` as code."""
    parts = [escape(part) for part in message.split("`")]
    text = "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
    return f"<div class='rs-hint'><span>{text}</span></div>"


def steps(heading: str, text: str, commands: Sequence[tuple[str, str]]) -> str:
    """An empty state: what is missing, and what to run: command and what it does."""
    inner = "".join(
        f"<li><code>{escape(command)}</code><span>{escape(why)}</span></li>"
        for command, why in commands
    )
    return (
        f"<div class='rs-empty'><h3>{escape(heading)}</h3><p>{escape(text)}</p>"
        f"<ol>{inner}</ol></div>"
    )
