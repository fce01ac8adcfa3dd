"""Empty states: what is missing, and what to run."""

import streamlit as st

from recsys.analyst.markup import steps

_BACKFILL = ("recsys backfill", "computes everybody's signature")
_CLUSTERS = ("recsys clusters build", "groups users by taste")
_AGAIN = ("recsys analyst", "opens this page again; or reload it")


def nothing_stored() -> None:
    """There is no database, or no user in it."""
    st.html(
        steps(
            "Nothing is stored yet",
            "Import choices first, then compute what this page shows:",
            [
                ("recsys import ratings DIR", "or another import, or recsys choose"),
                _BACKFILL,
                _CLUSTERS,
                _AGAIN,
            ],
        )
    )


def no_signatures() -> None:
    """Users are stored, but no signatures."""
    st.html(
        steps(
            "No signatures yet",
            "Users and choices are stored; neighbours and clusters need signatures:",
            [_BACKFILL, _CLUSTERS],
        )
    )


def no_clusters() -> None:
    """Signatures are stored, but no clusters."""
    st.html(
        steps(
            "No clusters of this model version yet",
            "Clusters are built from the signatures:",
            [_CLUSTERS],
        )
    )
