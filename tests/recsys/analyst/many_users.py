"""A storage of very many users, made up and written in bulk, for those who open the page on it."""

import hashlib
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import insert

from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.tables import (
    ChoiceRow,
    ClusterMemberRow,
    ClusterRow,
    ClusterRunRow,
    ImageRow,
    PassedOverRow,
    SignatureCounterRow,
    SignatureRow,
    UserRow,
)

VERSION = "made-up"
NUM_CLUSTERS = 12
AT = datetime(2026, 1, 1, tzinfo=UTC)
_CHOICES_A_USER = 2
_NUM_IMAGES = 40
_DIMENSION = 16
_USERS_AT_ONCE = 10_000


def fill(folder: Path, num_users: int) -> None:
    """Write a storage: recsys.db and blobs/ in the folder."""
    database = Database(f"sqlite:///{folder}/recsys.db")
    upgrade(database)
    digests = _add_images(database, BlobStore(f"file://{folder}/blobs"))
    with database.writing() as session:
        session.execute(insert(ClusterRunRow), [_run(num_users)])
        session.execute(insert(ClusterRow), [_cluster(place, num_users) for place in _places()])
        session.add(SignatureCounterRow(model_version=VERSION, last_sequence=num_users))
    for first in range(0, num_users, _USERS_AT_ONCE):
        _add_users(database, range(first, min(first + _USERS_AT_ONCE, num_users)), digests)
    database.dispose()


def user_name(number: int) -> str:
    """The id of the user of a number; ids are spread as digests are."""
    return f"user-{hashlib.sha256(str(number).encode()).hexdigest()[:12]}"


def _add_images(database: Database, blobs: BlobStore) -> list[str]:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(_NUM_IMAGES):
        pixels = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8).repeat(24, 0).repeat(24, 1)
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        data = file.getvalue()
        facts = {"media_type": "image/png", "width": 96, "height": 96, "num_bytes": len(data)}
        rows.append({"sha256": blobs.put(data), "created_at": AT, **facts})
    with database.writing() as session:
        session.execute(insert(ImageRow), rows)
    return [row["sha256"] for row in rows]


def _add_users(database: Database, numbers: range, digests: list[str]) -> None:
    rng = np.random.default_rng(numbers.start)
    vectors = (
        rng.normal(size=(len(numbers), _DIMENSION))
        + 2 * np.eye(_DIMENSION)[np.asarray(numbers) % NUM_CLUSTERS]
    )
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")
    ids = [user_name(number) for number in numbers]
    choices = [
        (number * _CHOICES_A_USER + turn + 1, user_id, turn + 1)
        for number, user_id in zip(numbers, ids, strict=True)
        for turn in range(_CHOICES_A_USER)
    ]
    with database.writing() as session:
        session.execute(
            insert(UserRow),
            [{"user_id": each, "revision": _CHOICES_A_USER, "created_at": AT} for each in ids],
        )
        session.execute(
            insert(ChoiceRow), [_choice(*each, digests[each[0] % _NUM_IMAGES]) for each in choices]
        )
        session.execute(
            insert(PassedOverRow),
            [
                {"choice_id": each, "position": 0, "sha256": digests[(each + 1) % _NUM_IMAGES]}
                for each, *_ in choices
            ],
        )
        session.execute(
            insert(SignatureRow),
            [
                _signature(number, user_id, vector)
                for number, user_id, vector in zip(numbers, ids, vectors, strict=True)
            ],
        )
        session.execute(
            insert(ClusterMemberRow),
            [
                {"run_id": 1, "user_id": each, "place": number % NUM_CLUSTERS, "similarity": 0.5}
                for number, each in zip(numbers, ids, strict=True)
            ],
        )


def _choice(choice_id: int, user_id: str, revision: int, liked: str) -> dict[str, object]:
    return {
        "choice_id": choice_id,
        "user_id": user_id,
        "revision": revision,
        "liked": liked,
        "prompt": f"a prompt of choice {choice_id}",
        "chosen_at": AT + timedelta(seconds=choice_id),
        "source": "made-up",
        "recorded_at": AT,
    }


def _signature(number: int, user_id: str, vector: np.ndarray) -> dict[str, object]:
    return {
        "user_id": user_id,
        "model_version": VERSION,
        "revision": _CHOICES_A_USER,
        "vector": vector.tobytes(),
        "created_at": AT + timedelta(seconds=number),
        "sequence": number + 1,
    }


def _places() -> range:
    return range(NUM_CLUSTERS)


def _run(num_users: int) -> dict[str, object]:
    return {
        "run_id": 1,
        "name": "run-1",
        "model_version": VERSION,
        "method": "kmeans",
        "parameters": '{"reason": "made up"}',
        "num_users": num_users,
        "num_clusters": NUM_CLUSTERS,
        "num_unclustered": 0,
        "begun_at": AT,
        "created_at": AT,
    }


def _cluster(place: int, num_users: int) -> dict[str, object]:
    return {
        "run_id": 1,
        "place": place,
        "cluster_id": place + 1,
        "size": len(range(place, num_users, NUM_CLUSTERS)),
        "cohesion": 0.5,
        "centroid": np.eye(_DIMENSION, dtype="<f4")[place].tobytes(),
        "words": "[]",
    }
