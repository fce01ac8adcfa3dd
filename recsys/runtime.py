"""The composition root: settings -> database, store, scorer, ranker, signature reader, index.

The server, the commands, the analyst's page and the demonstration begin here. Importing this
module loads neither torch nor SQLAlchemy: a part is imported and built when it is first asked for.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from recsys import _loading, _opening
from recsys._loading import LoadedModel

if TYPE_CHECKING:
    from recsys.engine.engine import ScoringEngine
    from recsys.erasure.eraser import Eraser
    from recsys.erasure.identity import IdentityKeyFile
    from recsys.erasure.image_eraser import ImageEraser
    from recsys.image_tokens.cache import ImageTokenCache
    from recsys.images.decode import ImageLimits
    from recsys.ranking.loader import ImageLoader
    from recsys.ranking.ranker import Ranker
    from recsys.scorer.model import PreferenceScorer
    from recsys.settings import Settings
    from recsys.signatures.backfill import Backfill
    from recsys.signatures.definition import SignatureModel
    from recsys.signatures.inputs import ReadReferences
    from recsys.signatures.refresh import ComputeVector, CurrentSignatures
    from recsys.similarity.index import SignatureIndex
    from storage.backfill_ledger import BackfillLedger
    from storage.browsing import Browser
    from storage.clusters.exports import ClusterExportStore
    from storage.clusters.runs import ClusterStore
    from storage.coldstart.populations import ColdStartStore
    from storage.consents import ConsentStore
    from storage.database import Database
    from storage.histories import HistoryStore
    from storage.records import InspectImage
    from storage.signatures import SignatureStore
    from storage.takedowns import ImageTakedowns
    from storage.trainings import TrainingStore


class Runtime:
    """The parts that settings name; each is opened on first use and closed by `close`.

    Use it as a context manager, or call `close`.

    Args:
        settings: all of them.
        creates: make the schema of an embedded database that holds nothing yet. Any other
            database is brought up by `recsys db upgrade` alone.
        read_only: the database itself refuses whatever would change it.
        load: reads the model; None for `load_model`.
    """

    def __init__(
        self,
        settings: "Settings",
        *,
        creates: bool = False,
        read_only: bool = False,
        load: "LoadModel | None" = None,
    ) -> None:
        self.settings = settings
        self._creates = creates
        self._read_only = read_only
        self._load = load
        self._open_parts = ExitStack()

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and end threads; parts must not be used afterwards."""
        self._open_parts.close()

    # Storage

    @cached_property
    def identity(self) -> "IdentityKeyFile":
        """The keys that tell who was erased; none is made before one is needed."""
        return _opening.identity_of(self.settings, makes=not self._read_only)

    @cached_property
    def database(self) -> "Database":
        """The database, whatever its schema; connects to nothing yet.

        Raises:
            PreconditionFailed: if its driver is not installed.
        """
        database = _opening.opened_database(self.settings, read_only=self._read_only)
        self._open_parts.callback(database.dispose)
        return database

    @property
    def is_new(self) -> bool:
        """Whether the database is an embedded one that nothing was ever stored in.

        Raises:
            NotADatabase: if its file is not a SQLite database.
        """
        from storage.sqlite import is_new

        return is_new(self.database.path)

    @cached_property
    def store(self) -> "HistoryStore":
        """Choices and images, in a database with a current schema.

        Raises:
            NotFound: if nothing was ever stored, and `creates` is False.
            SchemaMismatch: if the schema is older than the code, or newer and no longer serves it.
        """
        return _opening.opened_store(
            self.settings, self.database, self.identity, creates=self._creates
        )

    @cached_property
    def takedowns(self) -> "ImageTakedowns":
        """What takes images down and keeps them out; raises as `store`."""
        from storage.takedowns import ImageTakedowns

        return ImageTakedowns(self.store.database, self.store.blobs)

    @cached_property
    def consents(self) -> "ConsentStore":
        """What users allow; raises as `store`."""
        from storage.consents import ConsentStore

        return ConsentStore(self.store.database, self.identity)

    @cached_property
    def signatures(self) -> "SignatureStore":
        """Stored signatures; raises as `store`."""
        from storage.signatures import SignatureStore

        return SignatureStore(self.store.database)

    @cached_property
    def ledger(self) -> "BackfillLedger":
        """How each user's last backfill ended; raises as `store`."""
        from storage.backfill_ledger import BackfillLedger

        return BackfillLedger(self.store.database)

    @cached_property
    def clusters(self) -> "ClusterStore":
        """Stored runs of clusters; raises as `store`."""
        from storage.clusters.runs import ClusterStore

        return ClusterStore(self.store.database)

    @cached_property
    def cluster_exports(self) -> "ClusterExportStore":
        """Where runs of clusters were exported to; raises as `store`."""
        from storage.clusters.exports import ClusterExportStore

        return ClusterExportStore(self.store.database)

    @cached_property
    def trainings(self) -> "TrainingStore":
        """Where trainings were written to; raises as `store`."""
        from storage.trainings import TrainingStore

        return TrainingStore(self.store.database)

    @cached_property
    def cold_starts(self) -> "ColdStartStore":
        """What `recsys coldstart fit` has stored; raises as `store`."""
        from storage.coldstart.populations import ColdStartStore

        return ColdStartStore(self.store.database)

    @cached_property
    def eraser(self) -> "Eraser":
        """Erases users from storage and from the files of this machine; raises as `store`."""
        from recsys.erasure.eraser import Eraser

        return Eraser(
            self.store,
            index_folder=Path(self.settings.index_folder),
            checkpoints=list(map(Path, self.settings.served_checkpoints)),
            image_tokens_folder=self.settings.image_tokens_folder,
        )

    @cached_property
    def image_eraser(self) -> "ImageEraser":
        """Takes images out of storage and out of the files of this machine; raises as `store`."""
        from recsys.erasure.image_eraser import ImageEraser

        return ImageEraser(self.takedowns, image_tokens_folder=self.settings.image_tokens_folder)

    @cached_property
    def browser(self) -> "Browser":
        """Users to page through; raises as `store`."""
        from storage.browsing import Browser

        return Browser(self.store.database)

    # The model

    @property
    def model_version(self) -> str:
        """The checkpoint's model version, read without loading the model.

        Raises:
            CheckpointRefused: if there is no checkpoint, or its config is damaged.
        """
        from recsys.scorer.checkpoint import checkpoint_version

        return checkpoint_version(self.settings.checkpoint)

    @cached_property
    def scorer(self) -> "PreferenceScorer":
        """The checkpoint's scorer alone, without what it borrows.

        Raises:
            CheckpointRefused: if the checkpoint is missing, damaged or made for another base.
            SettingsRefused, PreconditionFailed: as `recsys.scorer.checkpoint.load_scorer`.
        """
        return _loading.loaded_scorer(self.settings)

    def image_tokens_of(self, scorer: "PreferenceScorer") -> "ImageTokenCache":
        """Where a loaded scorer's image tokens are kept; raises as `opened_image_tokens`, too."""
        tokens = _loading.opened_image_tokens(self.settings, self.store.database, scorer)
        self._open_parts.callback(tokens.close)
        return tokens

    def load_scorer(
        self, checkpoint: "str | Path", *, merges_adapter: bool = True
    ) -> "PreferenceScorer":
        """Load another checkpoint's scorer as the settings say; raises as `scorer`.

        Args:
            checkpoint: a folder, or the name of a shipped one.
            merges_adapter: False to train it further.
        """
        return _loading.load_checkpoint(self.settings, checkpoint, merges_adapter=merges_adapter)

    @cached_property
    def model(self) -> LoadedModel:
        """What is served: the scorer with what it borrows, and the reader of signatures.

        Raises:
            CheckpointRefused: if the checkpoint, or what it borrows, is damaged or does not fit.
        """
        return (self._load or load_model)(self)

    @property
    def signature_reader(self) -> "SignatureModel":
        """The checkpoint's reader of signatures.

        Raises:
            CheckpointRefused: if the checkpoint ships none, or as `model`.
        """
        return _loading.needed_reader(self.settings, self.model)

    # What works on both

    @cached_property
    def image_limits(self) -> "ImageLimits":
        """What an encoded image may claim before it is decoded."""
        from recsys.images.decode import ImageLimits

        return ImageLimits(self.settings.max_image_bytes, self.settings.max_image_pixels)

    @cached_property
    def inspect_image(self) -> "InspectImage":
        """Checks an encoded image that is to be stored; raises ImageRefused."""
        from recsys.images.decode import admit

        return partial(admit, limits=self.image_limits)

    @cached_property
    def read_references(self) -> "ReadReferences":
        """Reads and decodes references, in threads of its own; raises Unavailable."""
        from recsys.signatures.inputs import decoding

        threads = ThreadPoolExecutor(2, "recsys-signature")  # no ranking waits behind these
        self._open_parts.callback(threads.shutdown, wait=False, cancel_futures=True)
        geometry, tokens = self.model.geometry, self.model.image_tokens
        return decoding(self.store, self.image_limits, threads, geometry=geometry, tokens=tokens)

    @cached_property
    def images(self) -> "ImageLoader":
        """Reads and decodes images, in threads of its own."""
        from recsys.ranking.loader import ImageLoader

        geometry, tokens = self.model.geometry, self.model.image_tokens
        images = ImageLoader(self.store, self.image_limits, geometry, tokens=tokens)
        self._open_parts.callback(images.close)
        return images

    def engine(self) -> "ScoringEngine":
        """A new engine around the model; to be started and drained by the caller.

        Raises:
            SettingsRefused: if `prefix_cache_bytes` cannot hold one user under this model.
        """
        from recsys.engine.engine import ScoringEngine

        return ScoringEngine(
            self.model.scorer,
            self.images.references,
            max_queue=self.settings.max_queue,
            prefix_cache_bytes=_loading.prefix_cache_size(self.settings, self.model),
            audiences=self.model.audiences,
        )

    def ranker(self, engine: "ScoringEngine") -> "Ranker":
        """A new ranker over an engine and the store."""
        from recsys.ranking.ranker import Ranker

        return Ranker(
            engine,
            self.store,
            self.images,
            personalizes=self.consents.personalizes,
            num_references=self.model.num_references,
            max_candidates=self.settings.max_candidates,
            blocked_among=self.takedowns.blocked_among,
        )

    def current_signatures(self, compute: "ComputeVector | None" = None) -> "CurrentSignatures":
        """Signatures that are brought up to date when they are asked for.

        Args:
            compute: reads a vector from references; None for the signature reader in the calling
                thread. A server passes one that runs on the model's own thread.
        """
        from recsys.signatures.refresh import CurrentSignatures

        reader = self.signature_reader
        return CurrentSignatures(
            self.store,
            self.signatures,
            self.ledger,
            reader.model_version,
            compute or reader.read,
            self.read_references,
            personalizes=self.consents.personalizes,
        )

    def backfill(
        self, *, chunk_size: int = 64, batch_size: int = 1, retry_failed: bool = False
    ) -> "Backfill":
        """A backfill of everybody's signatures, not yet run; arguments as of `Backfill`."""
        from recsys.signatures.backfill import Backfill

        return Backfill(
            self.store,
            self.signatures,
            self.ledger,
            self.signature_reader,
            self.read_references,
            chunk_size=chunk_size,
            batch_size=batch_size,
            retry_failed=retry_failed,
            personalizes=self.consents.personalizes,
        )

    def index(
        self, model_version: str, *, makes_folder: bool = True, rebuilds: bool = True
    ) -> "SignatureIndex":
        """Open an index of one model version's signatures.

        Args:
            model_version: whose vectors.
            makes_folder: False: snapshots are read and written only where there are some.
            rebuilds: False for a process that is soon over.
        """
        from recsys.similarity.index import SignatureIndex

        folder = Path(self.settings.index_folder)
        return SignatureIndex(
            self.signatures,
            model_version,
            folder=folder if makes_folder or folder.is_dir() else None,
            rebuilds=rebuilds,
        )


LoadModel = Callable[[Runtime], LoadedModel]


def load_model(runtime: Runtime) -> LoadedModel:
    """Load the checkpoint that the settings name; raises CheckpointRefused as `loaded_model`."""
    scorer = runtime.scorer
    tokens = runtime.image_tokens_of(scorer)
    return _loading.loaded_model(runtime.settings, runtime.database, scorer, tokens)
