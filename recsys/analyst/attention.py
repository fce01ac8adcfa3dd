"""The page's model, loaded when first needed, and users' attention maps."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import numpy.typing as npt
import streamlit as st

from recsys.history import read_history, references_of
from recsys.images.decode import decode
from recsys.images.reader import ImageReader
from recsys.ranking.ranker import history_number
from recsys.runtime import Runtime
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.model import CandidateImage, PreferenceScorer
from recsys.scorer.references import read_references
from recsys.signatures.attention_maps import MapReading, attention_maps, heads_of_maps
from recsys.signatures.definition import READOUTS, Head, signature_version

_NUM_DECODERS = 4
Maps = npt.NDArray[np.float32]


_loading = threading.Lock()


def scorer_of(runtime: Runtime) -> PreferenceScorer | None:
    """Return the runtime's scorer; None if it has no preference tokens to attend to.

    Raises:
        CheckpointRefused: if the checkpoint is missing, damaged or made for another base.
    """
    with st.spinner("Loading the model …"), _loading:  # once, whoever asks meanwhile
        scorer = runtime.scorer
    return scorer if scorer.config.num_preference_tokens else None


def has_made(scorer: PreferenceScorer, version: str) -> bool:
    """Whether signatures of a model version are read by this scorer, by any readout."""
    made = (signature_version(scorer.model_version, readout) for readout in READOUTS)
    return version in (scorer.model_version, *made)


def heads_shown(runtime: Runtime) -> tuple[Head, ...]:
    """Return whose attention the maps show, as `heads_of_maps`; raises as `scorer_of`."""
    return heads_of_maps(runtime.scorer, find_checkpoint(runtime.settings.checkpoint))


def maps_of(
    runtime: Runtime,
    user_id: str,
    candidate: str,
    prompt: str,
    *,
    reading: MapReading = "log_ratio",
    of_choices: bool = True,
) -> Maps:
    """Return a user's attention maps on a stored image, shape (O, A, K); A is 1 as printed.

    Cached until the history changes, also if it is another one of the same revision, of a user who
    was erased and restored.

    Raises:
        PersonalizationOff: if the user does not want to be personalised; nothing is read then.
        UnknownImage: if the image is not stored.
    """
    runtime.consents.check(user_id)
    history = runtime.store.read(user_id, limit=1)
    newest_choice_id = history.choices[-1].choice_id if history.choices else 0
    number = history_number(newest_choice_id, history.revision)
    return _maps(runtime, user_id, number, candidate, prompt, reading, of_choices)


def cosine(mine: Maps, theirs: Maps) -> float:
    """Return the cosine of two maps of one shape, -1 to 1; 0 if either is all zeros."""
    length = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return float(np.vdot(mine, theirs)) / length if length else 0.0


@st.cache_data(max_entries=4000, show_spinner=False)
def _maps(
    _runtime: Runtime,
    user_id: str,
    number: int,
    candidate: str,
    prompt: str,
    reading: MapReading,
    of_choices: bool,
) -> Maps:
    scorer = _runtime.scorer
    assert scorer.config.num_preference_tokens, "callers ask `scorer_of` first"
    limits = _runtime.image_limits
    reader = ImageReader(_runtime.store, limits, scorer.geometry)
    num_references = scorer.config.num_references
    history = read_history(_runtime.store, user_id, num_references)
    pairs = references_of(history, num_references)
    with ThreadPoolExecutor(_NUM_DECODERS) as threads:
        references = read_references(pairs, reader, threads)
    pixels = decode(_runtime.store.image(candidate), limits)
    image = CandidateImage(pixels, prompt)
    maps = attention_maps(
        scorer,
        references,
        image,
        heads=heads_shown(_runtime),
        reading=reading,
        of_choices=of_choices,
    )
    return cast(Maps, maps)


def labels(heads: Sequence[Head], num_tokens: int) -> list[tuple[str, str]]:
    """Return the names of a map's columns: head and preference token, all counted from 1.

    Args:
        heads: whose attention the map shows; none for a mean over all of them.
        num_tokens: K.
    """
    named = [f"layer {layer + 1}, head {head + 1}" for layer, head in heads]
    return [(each, f"P{token + 1}") for each in named or [""] for token in range(num_tokens)]
