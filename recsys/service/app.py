"""The running service: its parts put together, its life from listening to drained."""

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from recsys.addresses import not_free
from recsys.engine.engine import ScoringEngine
from recsys.runtime import Runtime
from recsys.service import health
from recsys.service._served import Served, ServedModel
from recsys.service._threads import in_thread
from recsys.service.database_watch import DatabaseWatch
from recsys.service.erasures import Erasures
from recsys.service.interceptors.access_log import AccessLog
from recsys.service.interceptors.admission import Admission
from recsys.service.interceptors.calls import CallInterceptor
from recsys.service.interceptors.errors import map_errors
from recsys.service.interceptors.malformed import MalformedInterceptor
from recsys.service.metrics import ServiceMetrics
from recsys.service.servicers.feedback import FeedbackServicer
from recsys.service.servicers.images import ImageServicer
from recsys.service.servicers.ranking import RankingServicer
from recsys.service.servicers.similarity import SimilarityServicer
from recsys.service.servicers.users import UserServicer
from recsys.service.similarity import Similarity
from recsys.service.watch import EVERY_S, Watch
from recsys.v1 import (
    feedback_service_pb2,
    feedback_service_pb2_grpc,
    image_service_pb2,
    image_service_pb2_grpc,
    ranking_service_pb2,
    ranking_service_pb2_grpc,
    similarity_service_pb2,
    similarity_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
)
from storage.database import answers

logger = logging.getLogger(__name__)

_FILES = (
    feedback_service_pb2,
    image_service_pb2,
    ranking_service_pb2,
    similarity_service_pb2,
    user_service_pb2,
)
SERVICES = tuple(
    service.full_name for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)

_STORAGE_THREADS = 4
_LAST_WORDS_S = 0.5
"""Seconds for answers that are given and still on their way to the caller."""


class Service:
    """Listens, loads, serves, drains; each once and in this order, on one event loop.

    Args:
        runtime: what is served, and the settings; closed by the caller after `drain`.
        health_every_s: how often the engine is asked whether it is ready, seconds.
        watch_every_s: how often storage is asked whether it answers, and whether others have erased
            somebody or blocked an image, seconds.

    Raises:
        NotFound, SchemaMismatch: as `Runtime.store`.
    """

    def __init__(
        self, runtime: Runtime, *, health_every_s: float = 1.0, watch_every_s: float = EVERY_S
    ) -> None:
        self.metrics = ServiceMetrics()
        self._runtime = runtime
        self._health_every_s = health_every_s
        self._served = Served()
        self._admission = Admission(self.metrics, max_calls=runtime.settings.max_requests)
        self._health = health.HealthServicer(SERVICES)
        self._threads = ThreadPoolExecutor(_STORAGE_THREADS, thread_name_prefix="recsys-storage")
        self._similarity = SimilarityServicer(
            runtime, self._served, metrics=self.metrics, threads=self._threads
        )
        self._database = DatabaseWatch(partial(answers, runtime.database), every_s=watch_every_s)
        self._server: grpc.aio.Server | None = None
        self._following: asyncio.Task[None] | None = None
        self._erasures = Erasures(
            runtime.store, runtime.takedowns, self._served, eraser=runtime.image_eraser
        )
        self._watch = Watch([self._erasures.check], every_s=watch_every_s)

    async def start(self) -> str:
        """Listen and answer UNAVAILABLE; health is NOT_SERVING.

        Returns:
            HOST:PORT with the port that was taken.

        Raises:
            SettingsRefused: if the address cannot be taken.
        """
        server = self._new_server()
        address = self._runtime.settings.address
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise not_free(address, setting="address") from error
        await server.start()
        self._server = server
        return f"{address.rpartition(':')[0]}:{port}"

    async def load(self) -> None:
        """Load the model, try it with a real forward pass, and serve.

        Raises:
            CheckpointRefused: if there is no fit model.
            Exception: whatever loading or the forward pass raised.
        """
        await in_thread(self._threads, lambda: self._runtime.model)
        engine = self._runtime.engine()
        tokens = self._runtime.model.image_tokens
        ranker, similarity = self._runtime.ranker(engine), self._new_similarity(engine)
        model = ServedModel(engine, ranker, similarity, tokens)
        await in_thread(self._threads, self._erasures.begin)
        await engine.start()
        self._served.hold(model)
        if model.similarity is not None:
            model.similarity.prepare()
        self._database.start()
        self.metrics.watch(engine, self._database, tokens)
        self._admission.open()
        await self._health.set_serving(True)
        self._following = asyncio.create_task(self._follow(engine), name="recsys-health")
        self._watch.start()

    async def drain(self, timeout_s: float, *, hurry: asyncio.Event | None = None) -> None:
        """Stop: health first, then new calls, then those that are in, then the rest.

        Args:
            timeout_s: how long calls may take to finish, seconds; those that wait for the model
                then are answered UNAVAILABLE, all others are cancelled.
            hurry: ends that time when set.
        """
        self._watch.close()
        self._database.close()
        if self._following is not None:
            self._following.cancel()
        await self._health.set_serving(False)
        self._admission.close()
        await self._until_idle(timeout_s, hurry or asyncio.Event())
        model = self._served.model if self._served.is_loaded else None
        if model is not None:
            await model.engine.drain(0)
        await self._health.close()
        if self._server is not None:
            await self._server.stop(_LAST_WORDS_S)
        if model is not None:
            model.close()
        self._similarity.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _new_server(self) -> grpc.aio.Server:
        runtime = self._runtime
        server = grpc.aio.server(
            interceptors=[  # the outermost first
                CallInterceptor(map_errors),
                CallInterceptor(AccessLog(self.metrics).answer),
                CallInterceptor(self._admission.answer),
                MalformedInterceptor(),
            ],
            options=[
                ("grpc.max_receive_message_length", runtime.settings.max_request_bytes),
                # Two servers on one port would each get some of the calls, and nobody would know.
                ("grpc.so_reuseport", 0),
            ],
        )
        ranking_service_pb2_grpc.add_RankingServiceServicer_to_server(
            RankingServicer(runtime, self._served, metrics=self.metrics, threads=self._threads),
            server,
        )
        feedback_service_pb2_grpc.add_FeedbackServiceServicer_to_server(
            FeedbackServicer(runtime, self._threads), server
        )
        user_service_pb2_grpc.add_UserServiceServicer_to_server(
            UserServicer(runtime, self._served, self._threads, on_erased=self._watch.wake),
            server,
        )
        image_service_pb2_grpc.add_ImageServiceServicer_to_server(
            ImageServicer(runtime, self._threads, on_removed=self._look_at_memory), server
        )
        similarity_service_pb2_grpc.add_SimilarityServiceServicer_to_server(
            self._similarity, server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, health.SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        return server

    def _look_at_memory(self) -> None:
        self._erasures.doubt()
        self._watch.wake()

    def _new_similarity(self, engine: ScoringEngine) -> Similarity | None:
        reader = self._runtime.model.signature_reader
        if reader is None:
            return None
        return Similarity(
            self._runtime.current_signatures(partial(engine.compute, reader.read)),
            partial(self._runtime.index, reader.model_version),
        )

    async def _follow(self, engine: ScoringEngine) -> None:
        """Let health say what engine and database say: no method answers without both."""
        was_ready = True
        while True:
            await asyncio.sleep(self._health_every_s)
            if engine.ready != was_ready:
                was_ready = not was_ready
                logger.warning("the model is %s", "well again" if was_ready else "failing")
            await self._health.set_serving(was_ready and self._database.answers)

    async def _until_idle(self, timeout_s: float, hurry: asyncio.Event) -> None:
        waits = {
            asyncio.create_task(self._admission.wait_until_idle()),
            asyncio.create_task(hurry.wait()),
        }
        try:
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await wait
        if self._admission.num_calls:
            logger.warning("stopping with %d calls unanswered", self._admission.num_calls)
