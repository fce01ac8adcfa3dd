"""Storage in a folder of its own, apart from what the settings name."""

from pathlib import Path

from recsys.runtime import Runtime
from recsys.settings import load_settings


def open_folder(folder: Path, **settings: str) -> Runtime:
    """Open the database and the images of a folder, both made if they are not there.

    Args:
        folder: of both, e.g. of a world.
        settings: others that differ from those of the environment, by name.

    Raises:
        SettingsRefused: as `load_settings`.
        OSError: if the folder cannot be made.
    """
    place = folder.resolve()
    place.mkdir(parents=True, exist_ok=True)
    own = {
        "database_url": f"sqlite:///{place / 'recsys.db'}",
        "blob_url": f"file://{place / 'blobs'}",
    }
    return Runtime(load_settings(own | settings).settings, creates=True)
