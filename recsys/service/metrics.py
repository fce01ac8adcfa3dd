"""Prometheus metrics: recsys_*, in base units; a user is never a label."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from recsys.addresses import host_and_port
from recsys.engine.engine import EngineStats, ScoringEngine
from recsys.image_tokens.cache import ImageTokenCache
from recsys.ranking.candidates import Ranking
from recsys.service.database_watch import DatabaseWatch

_DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# name, help, how to read it from the engine's statistics
_EngineMetric = tuple[str, str, Callable[[EngineStats], float]]
_COUNTERS: tuple[_EngineMetric, ...] = (
    ("scored_candidates", "Candidates scored by the model.", lambda stats: stats.num_scored),
    (
        "engine_overloaded",
        "Requests refused by the engine's full queue.",
        lambda stats: stats.num_overloaded,
    ),
    ("engine_expired", "Requests dropped after their deadline.", lambda stats: stats.num_expired),
    (
        "engine_cancelled",
        "Requests dropped because the call was cancelled.",
        lambda stats: stats.num_cancelled,
    ),
    ("model_failures", "Failed calls of the model.", lambda stats: stats.num_model_failures),
    (
        "prefix_cache_hits",
        "Requests whose user's prefix was cached.",
        lambda stats: stats.cache_hits,
    ),
    (
        "prefix_cache_misses",
        "Requests whose user's prefix was computed.",
        lambda stats: stats.cache_misses,
    ),
    (
        "prefix_cache_evictions",
        "Prefixes evicted to make room.",
        lambda stats: stats.cache_evictions,
    ),
    (
        "prefix_cache_too_large",
        "Prefixes larger than the whole cache.",
        lambda stats: stats.cache_too_large,
    ),
)
_GAUGES: tuple[_EngineMetric, ...] = (
    ("queue_length", "Requests waiting for the model.", lambda stats: stats.queue_length),
    (
        "model_service_seconds",
        "Mean time the model takes for a request.",
        lambda stats: stats.mean_service_s,
    ),
    ("prefix_cache_entries", "Prefixes in the cache.", lambda stats: stats.cache_entries),
    ("prefix_cache_bytes", "Memory of the cached prefixes.", lambda stats: stats.cache_bytes),
)


class ServiceMetrics:
    """The service's metrics, in a registry of its own: two services in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "recsys_requests",
            "Calls answered, by method and status code.",
            ["method", "code"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "recsys_request_duration_seconds",
            "Time from the arrival of a call to its answer.",
            ["method"],
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "recsys_requests_in_progress", "Calls being answered.", registry=self.registry
        )
        self._rankings = Counter(
            "recsys_rankings",
            "Rankings, by how far they are personal, and by audience.",
            ["personalization", "audience"],
            registry=self.registry,
        )
        self._signatures = Counter(
            "recsys_signatures",
            "Signatures requested, by whether they include the newest choice.",
            ["freshness"],
            registry=self.registry,
        )
        self._candidates = Counter(
            "recsys_candidates",
            "Candidates ranked or refused, by status.",
            ["status"],
            registry=self.registry,
        )

    def observe_call(self, method: str, code: str, took_s: float) -> None:
        """Count a call.

        Args:
            method: its bare name.
            code: gRPC's name of the status.
            took_s: seconds.
        """
        self._calls.labels(method, code).inc()
        self._durations.labels(method).observe(took_s)

    def observe_ranking(self, ranking: Ranking, audience: str) -> None:
        """Count a ranking by how far it is personal, and its candidates by status.

        Args:
            ranking: made.
            audience: a name of the settings, or empty: so there are few.
        """
        self._rankings.labels(ranking.personalization.value, audience).inc()
        for candidate in ranking.candidates:
            self._candidates.labels(candidate.status.value).inc()

    def observe_signature(self, *, is_stale: bool) -> None:
        """Count a signature that was requested, by whether it is stale."""
        self._signatures.labels("stale" if is_stale else "fresh").inc()

    def watch(
        self,
        engine: ScoringEngine,
        database: DatabaseWatch,
        image_tokens: ImageTokenCache | None = None,
    ) -> None:
        """Report what an engine and kept image tokens tell, and whether the database answers."""
        self.registry.register(_EngineCollector(engine))
        if image_tokens is not None:
            self.registry.register(_TokenCollector(image_tokens))
        up = Gauge("recsys_database_up", "1 when the database answers.", registry=self.registry)
        up.set_function(lambda: float(database.answers))

    def serve(self, address: str) -> tuple[str, Callable[[], None]]:
        """Answer http://ADDRESS/metrics on a thread.

        Args:
            address: HOST:PORT; port 0 takes a free one.

        Returns:
            The address taken, and what to call in the end.

        Raises:
            OSError: if the address cannot be taken.
        """
        host, port = host_and_port(address)
        server, thread = start_http_server(port, host, registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return f"{address.rpartition(':')[0]}:{server.server_port}", stop


class _EngineCollector(Collector):
    """Reads the engine's own counts when metrics are collected."""

    def __init__(self, engine: ScoringEngine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Yield the engine's metrics."""
        stats = self._engine.stats
        for name, text, value in _COUNTERS:
            yield CounterMetricFamily(f"recsys_{name}", text, value=value(stats))
        for name, text, value in _GAUGES:
            yield GaugeMetricFamily(f"recsys_{name}", text, value=value(stats))
        ready = float(self._engine.ready)
        yield GaugeMetricFamily("recsys_ready", "1 when the model answers.", value=ready)
        info = GaugeMetricFamily(
            "recsys_model_info",
            "The version of the model that is served, and of each audience's.",
            labels=["model_version", "audience"],
        )
        for audience, version in {"": self._engine.model_version, **self._engine.audiences}.items():
            info.add_metric([version, audience], 1)
        yield info


class _TokenCollector(Collector):
    """Reads the counts of kept image tokens when metrics are collected."""

    def __init__(self, image_tokens: ImageTokenCache) -> None:
        self._image_tokens = image_tokens

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of image tokens."""
        stats = self._image_tokens.stats()
        hits = CounterMetricFamily(
            "recsys_image_tokens_hits", "Images whose tokens were kept.", labels=["tier"]
        )
        hits.add_metric(["memory"], stats.num_memory_hits)
        hits.add_metric(["disk"], stats.num_disk_hits)
        yield hits
        misses = "Images whose tokens were made."
        yield CounterMetricFamily("recsys_image_tokens_misses", misses, value=stats.num_misses)
        taken = GaugeMetricFamily(
            "recsys_image_tokens_bytes", "What kept image tokens take.", labels=["tier"]
        )
        taken.add_metric(["memory"], stats.memory_bytes)
        taken.add_metric(["disk"], stats.disk_bytes)
        yield taken
