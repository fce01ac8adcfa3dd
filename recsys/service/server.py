"""`recsys serve` as a process: signals, the line that says it serves, and a certain end."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack

from recsys.addresses import not_free
from recsys.runtime import LoadModel, Runtime
from recsys.service.app import Service
from recsys.settings import Settings
from storage.database import require_usable

logger = logging.getLogger(__name__)

_FAREWELL_S = 1.0


def serve(settings: Settings, *, creates: bool = False, load: LoadModel | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain within `drain_timeout_s` and return.

    On standard output there is one line, `serving on HOST:PORT`, once the model has answered; logs
    go to standard error. A second signal ends the draining. Should a call of the model or of
    storage hang then, the process ends without it, with exit code 0.

    Args:
        settings: all of it.
        creates: make the schema of an embedded database that holds nothing yet.
        load: reads the model; None for the checkpoint of the settings.

    Raises:
        SchemaMismatch: if the database is older than the code, or newer and no longer serves it.
        SettingsRefused: if an address cannot be taken.
        CheckpointRefused: if there is no fit model.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with Runtime(settings, creates=creates, load=load) as runtime:
        if not creates:
            require_usable(runtime.database)
        asyncio.run(_serve(runtime))
    _end_without_stragglers()


async def _serve(runtime: Runtime) -> None:
    settings = runtime.settings
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (hurry if stop.is_set() else stop).set())
    service = Service(runtime)
    with ExitStack() as stack:
        _serve_metrics(service, settings.metrics_address, stack)
        address = await service.start()
        try:
            logger.info("listening on %s, loading the model", address)
            if await _loaded(service, stop):
                print(f"serving on {address}", flush=True)
                await stop.wait()
                logger.info("draining, %.1f s at most", settings.drain_timeout_s)
        finally:
            await service.drain(settings.drain_timeout_s, hurry=hurry)
    logger.info("stopped")


def _serve_metrics(service: Service, address: str | None, stack: ExitStack) -> None:
    if address is None:
        return
    try:
        taken, stop = service.metrics.serve(address)
    except OSError as error:
        raise not_free(address, setting="metrics_address") from error
    stack.callback(stop)
    logger.info("metrics on http://%s/metrics", taken)


async def _loaded(service: Service, stop: asyncio.Event) -> bool:
    """Load, unless the end comes first."""
    loading = asyncio.create_task(service.load())
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
