"""Clicks on pictures: one opens large, or is picked to be compared on."""

from typing import Any

import streamlit as st

from recsys.analyst.markup import large_picture
from recsys.analyst.thumbnails import thumbnail
from recsys.runtime import Runtime
from storage.errors import UnknownImage

LARGE_PX = 1600

_KEY = "image clicks"
# Pictures are HTML, which Streamlit hears nothing of: this listens to the whole page, and says on
# its root that it does, for it is loaded after the pictures.
_SCRIPT = """
export default function (component) {
  const listen = (event) => {
    const button = event.target.closest("button[data-open], button[data-pick]");
    if (!button) return;
    const name = button.dataset.open ? "opened" : "picked";
    component.setTriggerValue(name, button.dataset.open || button.dataset.pick);
  };
  document.addEventListener("click", listen);
  document.documentElement.dataset.clicks = "heard";
  return () => {
    document.removeEventListener("click", listen);
    delete document.documentElement.dataset.clicks;
  };
}
"""


def heed_clicks(runtime: Runtime) -> None:
    """Open the picture that was clicked on; write one that was picked to the address."""
    listener = st.components.v2.component("recsys_image_clicks", html="<span></span>", js=_SCRIPT)
    clicks: Any = listener(
        key=_KEY, on_opened_change=lambda: None, on_picked_change=_pick, height="content"
    )
    if clicks.opened:
        _draw_large(runtime, str(clicks.opened))


def _pick() -> None:
    st.query_params["on"] = str(st.session_state[_KEY].picked)


@st.dialog("Image", width="large")
def _draw_large(runtime: Runtime, sha256: str) -> None:
    try:
        facts, data = runtime.store.image_facts(sha256), runtime.store.image(sha256)
    except UnknownImage:
        st.info("This image is not stored any more.")
        return
    below = f"{facts.width:,} × {facts.height:,} pixels, SHA-256 {facts.sha256}"
    st.html(large_picture(thumbnail(data, max_px=LARGE_PX), below))
