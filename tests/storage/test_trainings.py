"""Where trainings are, as storage keeps it."""

from datetime import UTC, datetime

from storage.trainings import TrainingStore


def test_a_training_is_kept_once_for_each_folder(database) -> None:
    before = datetime.now(UTC)
    trainings = TrainingStore(database)
    trainings.record("/runs/one")
    trainings.record("/runs/two", "v2")
    assert [(run.folder, run.model_version) for run in trainings.all()] == [
        ("/runs/one", ""),
        ("/runs/two", "v2"),
    ]
    trainings.record("/runs/one", "v1")
    runs = trainings.all()
    assert [(run.folder, run.model_version) for run in runs] == [
        ("/runs/two", "v2"),
        ("/runs/one", "v1"),
    ]
    assert all(before <= run.trained_at <= datetime.now(UTC) for run in runs)
