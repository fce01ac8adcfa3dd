"""`recsys serve` as a process: signals, the line that says it serves, and a certain end."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.engine.engine import Scorer
from recsys.errors import CheckpointRefused, SettingsRefused
from recsys.service.app import LoadedModel, LoadModel, Service
from recsys.settings import Settings
from recsys.signatures.chunk import Signing
from storage.blobs import BlobStore
from storage.database import Database, require_current
from storage.histories import HistoryStore

if TYPE_CHECKING:
    from recsys.scorer.model import PreferenceScorer

logger = logging.getLogger(__name__)

_FAREWELL_S = 1.0


def serve(settings: Settings, *, load: LoadModel | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain within `drain_timeout_s` and return.

    On standard output there is one line, `serving on HOST:PORT`, once the model has answered; logs
    go to standard error. A second signal ends the draining. Should a call of the model or of
    storage hang then, the process ends without it, with exit code 0.

    Args:
        settings: all of it.
        load: reads the model; None for the checkpoint of the settings.

    Raises:
        SchemaMismatch: if the database is older or newer than the code.
        SettingsRefused: if an address cannot be taken.
        CheckpointRefused: if there is no fit model.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    database = Database(settings.database_url)
    try:
        require_current(database)
        store = HistoryStore(database, BlobStore(settings.blob_url))
        asyncio.run(_serve(settings, store, load or load_model))
    finally:
        database.dispose()
    _end_without_stragglers()


def load_model(settings: Settings) -> LoadedModel:
    """Load the checkpoint that the settings name.

    Raises:
        CheckpointRefused: if it is missing, damaged or made for another base.
    """
    import torch

    from recsys.scorer.checkpoint import find_checkpoint, load_scorer

    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    scorer = load_scorer(settings.checkpoint, device=settings.device)
    signing = signing_of(find_checkpoint(settings.checkpoint), scorer)
    served = borrowing(settings, scorer)
    return LoadedModel(served, scorer.config.num_references, scorer.geometry, signing)


def borrowing(settings: Settings, scorer: "PreferenceScorer") -> Scorer:
    """Let a scorer borrow what `recsys coldstart fit` has learned; else return it as it is.

    Raises:
        CheckpointRefused: if what was learned is damaged or does not fit.
    """
    from recsys.coldstart.blend import BorrowingScorer, ColdStart
    from storage.coldstart.populations import ColdStartStore
    from storage.database import check

    if not settings.cold_start:
        return scorer
    database = Database(settings.database_url)
    try:
        is_current = check(database).is_current  # a new database has nothing to lend
        stored = ColdStartStore(database).get(scorer.model_version) if is_current else None
    finally:
        database.dispose()
    if stored is None:
        return scorer
    try:
        return BorrowingScorer(scorer, ColdStart.from_bytes(stored.data))
    except ValueError as error:
        raise CheckpointRefused(str(error)) from error


def signing_of(checkpoint: Path, scorer: "PreferenceScorer") -> Signing | None:
    """Load a checkpoint's reader of signatures; None where it ships nothing to read them by.

    Args:
        checkpoint: the folder that the scorer was loaded from.
        scorer: loaded from there.

    Raises:
        CheckpointRefused: if what it ships is damaged.
    """
    from recsys.signatures.files import has_signature, load_signature_reader

    if not has_signature(checkpoint):
        logger.info("%s ships nothing to read signatures by: near users are unknown", checkpoint)
        return None
    return load_signature_reader(checkpoint, scorer)


async def _serve(settings: Settings, store: HistoryStore, load: LoadModel) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (hurry if stop.is_set() else stop).set())
    service = Service(settings, store)
    with ExitStack() as stack:
        _serve_metrics(service, settings.metrics_address, stack)
        try:
            address = await service.start()
            logger.info("listening on %s, loading the model", address)
            if await _loaded(service, load, stop):
                print(f"serving on {address}", flush=True)
                await stop.wait()
        finally:
            logger.info("draining, %.1f s at most", settings.drain_timeout_s)
            await service.drain(settings.drain_timeout_s, hurry=hurry)
    logger.info("stopped")


def _serve_metrics(service: Service, address: str | None, stack: ExitStack) -> None:
    if address is None:
        return
    try:
        taken, stop = service.metrics.serve(address)
    except OSError as error:
        raise SettingsRefused(
            f"metrics_address must be one that is free on this machine, got {address}:"
            " stop what listens there, or choose another port (0 takes a free one)"
        ) from error
    stack.callback(stop)
    logger.info("metrics on http://%s/metrics", taken)


async def _loaded(service: Service, load: LoadModel, stop: asyncio.Event) -> bool:
    """Load, unless the end comes first."""
    loading = asyncio.create_task(service.load(load))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            return False
        loading.result()
        return True
    finally:
        loading.cancel()
        stopping.cancel()


def _end_without_stragglers() -> None:
    """Leave at once if a thread of ours hangs: at its exit the interpreter would wait for it."""
    end = time.monotonic() + _FAREWELL_S
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("recsys-")]
    for thread in ours:
        thread.join(max(0.0, end - time.monotonic()))
    hanging = [thread.name for thread in ours if thread.is_alive()]
    if hanging:
        logger.warning("ending without %s", ", ".join(hanging))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
