"""What the page says while there is nothing to show: what is missing and what to run."""

import streamlit as st

from recsys.analyst.markup import steps

_BACKFILL = ("recsys backfill", "computes everybody's signature")
_CLUSTERS = ("recsys clusters build", "groups people of like taste")
_AGAIN = ("recsys analyst", "opens this page again, or reload it")


def nothing_stored() -> None:
    """No database, or nobody in it."""
    st.html(
        steps(
            "Nothing is stored yet",
            "This page shows who likes what. Bring choices in, then compute what it is made of:",
            [
                ("recsys import ratings DIR", "or import pairs, import pickapic, or make demo"),
                _BACKFILL,
                _CLUSTERS,
                _AGAIN,
            ],
        )
    )


def no_signatures() -> None:
    """People are stored, but no signature of anybody."""
    st.html(
        steps(
            "No signatures yet",
            "People and their choices are here; near tastes show once signatures are computed:",
            [_BACKFILL, _CLUSTERS],
        )
    )


def no_clusters() -> None:
    """Signatures are stored, but no clusters of them."""
    st.html(
        steps(
            "No clusters of this model version yet",
            "Clusters are built from the signatures, as often as you like:",
            [_CLUSTERS],
        )
    )
