"""The view of two users: their attention maps on one candidate, as in Fig. 3 of the paper."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import streamlit as st

from recsys.analyst import markup
from recsys.analyst.downloads import download
from recsys.analyst.markup import Act, Opinion
from recsys.analyst.navigation import ViewName, go, parameter, plain
from recsys.analyst.page import Page
from recsys.analyst.sources import newest_liked, shown
from recsys.analyst.theme import INK, PALETTE
from recsys.errors import CheckpointRefused, NotFound
from storage.errors import PersonalizationOff, UnknownImage

if TYPE_CHECKING:
    from recsys.signatures.attention_maps import MapReading

NUM_CANDIDATES = 4
_CHOICES, _AS_IS, _PRINTED = "What the choices change", "Attention", "As in the paper"
_WHAT_IT_IS = {
    _CHOICES: "Attention to each preference token where the image's score is read, as a log-ratio"
    " (above 0: more than the mean token), less the same with likes and dislikes exchanged. A"
    " similarity of 1 says that both users' choices change it alike, 0 that they have nothing in"
    " common, below 0 that they are opposed.",
    _AS_IS: "Attention to each preference token where the image's score is read, as a log-ratio."
    " Much of it is how long the prompts of the references are: the similarity counts that, too.",
    _PRINTED: "Attention of all tokens of the image, averaged over heads and layers (Eq. 6 of the"
    " paper). Hardly anything of the user is left in it: any two users are similar.",
}


def draw_comparison(page: Page) -> None:
    """Ask for two users and a candidate, then draw its attention behind each user's references."""
    st.html(
        markup.title(
            "Compare two users",
            below="The same image follows each user's references. The bars show its attention to"
            " the preference tokens, head by head, the dots the same for five orders of the"
            " references.",
        )
    )
    first, second = _ask(page)
    if not (first and second):
        _propose(page, first)
        return
    candidates = _candidates(page, first, second)
    if not candidates:
        st.info("Neither user has liked an image: there is nothing to compare on.")
        return
    candidate = _choose_candidate(page, candidates)
    try:
        _draw_maps(page, (first, second), *candidate)
    except (CheckpointRefused, NotFound, PersonalizationOff, UnknownImage) as error:
        st.info(str(error))


def _ask(page: Page) -> tuple[str, str]:
    columns = st.columns(2)
    return _ask_one(page, columns[0], "a", "First user"), _ask_one(
        page, columns[1], "b", "Second user"
    )


def _ask_one(page: Page, column: Any, name: str, label: str) -> str:
    """Ask for a user's id, by default the address's; empty for nobody to draw."""
    key = f"compare {name}"
    named = parameter(name)
    if st.session_state.get(f"{key} from") != named:
        # The address has changed since: it replaces what was typed before.
        st.session_state[key] = st.session_state[f"{key} from"] = named

    def typed() -> None:
        # One of them stays in the address while the other is typed anew.
        both = {each: parameter(each) for each in ("a", "b")} | {
            name: st.session_state[key].strip()
        }
        go(ViewName.COMPARE, **{each: value for each, value in both.items() if value})

    user_id = column.text_input(label, key=key, placeholder="A full id", on_change=typed).strip()
    if not user_id:
        return ""
    user = page.runtime.browser.user(user_id, model_version=page.version)
    if user is None:
        column.caption(f"No user {user_id} is stored.")
        return ""
    if not user.is_personal:
        column.caption(
            f"{plain(user_id)} does not want to be personalised: nothing is computed from their"
            " history."
        )
        return ""
    return str(user_id)


def _propose(page: Page, first: str) -> None:
    """Suggest users: neighbours of the first, or those with the most recent signatures."""
    if first:
        from recsys.analyst.neighbours import nearest

        names = [each.user_id for each in nearest(page, first)]
        text = "Neighbours of the first user"
    else:
        newest = page.runtime.browser.newest(model_version=page.version, limit=6)
        names, text = [each.user_id for each in newest], "Suggestions"
    if not names:
        return
    st.html(markup.section(text))
    with st.container(horizontal=True):
        for user_id in names:
            both = {"a": first, "b": user_id} if first else {"a": user_id}
            st.button(
                user_id,
                key=f"propose {user_id}",
                on_click=go,
                args=(ViewName.COMPARE,),
                kwargs=both,
            )


def _candidates(page: Page, first: str, second: str) -> list[tuple[str, str]]:
    liked = [newest_liked(page.runtime, user_id, NUM_CANDIDATES) for user_id in (first, second)]
    return list(dict((*liked[0], *liked[1])).items())


def _choose_candidate(page: Page, candidates: list[tuple[str, str]]) -> tuple[str, str]:
    st.html(
        markup.section(
            "Image to compare on", below="The most recent likes of either user: click on one."
        )
    )
    picked = parameter("on")
    chosen = next((each for each in candidates if each[0] == picked), candidates[0])
    pictures = [
        replace(
            shown(page.runtime, sha256, text=prompt),
            act=Act.PICK,
            is_picked=sha256 == chosen[0],
            note="Compared on" if sha256 == chosen[0] else "",
        )
        for sha256, prompt in candidates
    ]
    st.html(markup.gallery(pictures, size="m"))
    return chosen


def _draw_maps(page: Page, users: tuple[str, str], candidate: str, prompt: str) -> None:
    from recsys.analyst import attention

    scorer = attention.scorer_of(page.runtime)
    if scorer is None:
        st.info("This model has no preference tokens: there is nothing to attend to.")
        return
    how = _ask_how()
    reading: MapReading = "printed" if how == _PRINTED else "log_ratio"
    of_choices = how == _CHOICES
    maps = [
        attention.maps_of(
            page.runtime, user_id, candidate, prompt, reading=reading, of_choices=of_choices
        )
        for user_id in users
    ]
    alike = attention.cosine(*(each.mean(axis=0) for each in maps))
    st.html(markup.tiles(_facts(page, users, alike)))
    heads = () if reading == "printed" else attention.heads_shown(page.runtime)
    columns = attention.labels(heads, maps[0].shape[2])
    top = max(float(abs(each).max()) for each in maps) * 1.08 or 1.0
    for place, (column, user_id) in enumerate(zip(st.columns(2), users, strict=True)):
        with column, st.container(border=True, key=f"card map {place}"):
            st.html(markup.title_line(user_id, "AB"[place]))
            figure = attention_figure(
                maps[place].reshape(len(maps[place]), -1),
                columns,
                colour=PALETTE[place],
                top=top,
                is_share=reading == "printed",
            )
            st.plotly_chart(
                figure, key=f"attention {place}", theme=None, config={"displayModeBar": False}
            )
            _draw_references(page, user_id)
    if page.version and not attention.has_made(scorer, page.version):
        st.caption(
            f"Attention is of model {scorer.model_version[:10]}, signatures are of model"
            f" {page.version[:10]}."
        )
    _offer(users, maps, columns)


def _ask_how() -> str:
    """Ask for one of `_WHAT_IT_IS`, and tell what it is."""
    how: str = st.segmented_control(
        "Show",
        list(_WHAT_IT_IS),
        default=_CHOICES,
        required=True,
        key="how",
        label_visibility="collapsed",
    )
    st.caption(_WHAT_IT_IS[how])
    return how


def _offer(users: tuple[str, str], maps: Sequence[Any], columns: Sequence[tuple[str, str]]) -> None:
    """Offer both users' maps, as they are shown, as a file."""
    download(
        f"attention of {users[0]} and {users[1]}",
        ["user_id", "order", *(" ".join(filter(None, each)) for each in columns)],
        lambda: [
            [user_id, order, *(float(weight) for weight in row.ravel())]
            for user_id, rows in zip(users, maps, strict=True)
            for order, row in enumerate(rows)
        ],
        label="Maps as CSV",
    )


def _facts(page: Page, users: tuple[str, str], alike: float) -> list[tuple[str, str, str]]:
    facts = [("Similarity of maps", f"{alike:.2f}", "cosine of the means over orders")]
    first, second = (page.runtime.signatures.get(user_id, page.version) for user_id in users)
    if first is not None and second is not None:
        similarity = float(first.vector @ second.vector)
        facts.append(("Similarity of signatures", f"{similarity:.3f}", "cosine, over all probes"))
    return facts


def attention_figure(
    maps: Any, columns: Sequence[tuple[str, str]], *, colour: str, top: float, is_share: bool
) -> dict[str, Any]:
    """Return a figure: a bar for each token of each head, the mean of the orders, and their dots.

    Args:
        maps: shape (O, F).
        columns: of the F columns, head and preference token; a head without a name is not shown.
        colour: of the bars.
        top: end of the vertical axis, the same for all that are compared.
        is_share: values are shares of the attention, from 0; else they may be negative.
    """
    places = list(range(len(columns)))
    bars = {
        "type": "bar",
        "x": places,
        "y": maps.mean(axis=0).tolist(),
        "opacity": 0.85,
        "marker": {"color": colour},
        "text": [" ".join(filter(None, each)) for each in columns],
        "textposition": "none",
        "hovertemplate": f"%{{text}}: %{{y:{'.1%' if is_share else '+.2f'}}}<extra></extra>",
    }
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": places * len(maps),
        "y": maps.ravel().tolist(),
        "marker": {"color": INK, "size": 4, "opacity": 0.6},
        "hoverinfo": "skip",
    }
    axis = {
        "range": [0 if is_share else -top, top],
        "tickformat": ".0%" if is_share else "+.3~g",
        "gridcolor": "#efede8",
        "zerolinecolor": "#c9c5bd",
        "fixedrange": True,
    }
    return {
        "data": [bars, dots],
        "layout": {
            "height": 260,
            "margin": {"l": 44, "r": 6, "t": 10, "b": 44},
            "showlegend": False,
            "paper_bgcolor": "#ffffff",
            "plot_bgcolor": "#ffffff",
            "bargap": 0.35,
            "shapes": _lines_between_heads(columns),
            "font": {"color": INK, "size": 12, "family": "Source Sans, sans-serif"},
            "yaxis": axis,
            "xaxis": {"fixedrange": True, "showgrid": False, **_named_below(columns)},
        },
    }


def _lines_between_heads(columns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A line where one head's tokens end and the next one's begin."""
    ends = [place for place, (one, other) in enumerate(pairwise(columns)) if one[0] != other[0]]
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1}
    look = {"line": {"color": "#c9c5bd", "width": 1}}
    return [{**line, "x0": end + 0.5, "x1": end + 0.5, **look} for end in ends]


def _named_below(columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Ticks of the columns: a head's name in the middle of its tokens, else each token's."""
    heads = list(dict.fromkeys(head for head, _ in columns if head))
    if not heads:
        tokens = [token for _, token in columns]
        return {"tickvals": list(range(len(tokens))), "ticktext": tokens}
    width = len(columns) / len(heads)
    middles = [(number + 0.5) * width - 0.5 for number in range(len(heads))]
    return {"tickvals": middles, "ticktext": [head.replace(", ", "<br>") for head in heads]}


def _draw_references(page: Page, user_id: str) -> None:
    history = page.runtime.store.read(user_id, limit=8)
    pictures = []
    for stored in reversed(history.choices):
        choice = stored.choice
        if choice.liked is not None:
            pictures.append(shown(page.runtime, choice.liked, Opinion.LIKED, text=choice.prompt))
        pictures += [
            shown(page.runtime, sha256, Opinion.PASSED_OVER, text=choice.prompt)
            for sha256 in choice.passed_over[:1]
        ]
    st.html(markup.gallery(pictures[:12], size="s"))
