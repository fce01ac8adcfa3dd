"""Prometheus metrics: recsys_*, base units, never a user as a label."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from recsys.engine.engine import EngineStats, ScoringEngine
from recsys.ranking.candidates import Ranking

_DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# name, help, how to read it from the engine's statistics
_EngineMetric = tuple[str, str, Callable[[EngineStats], float]]
_COUNTERS: tuple[_EngineMetric, ...] = (
    ("scored_targets", "Images scored.", lambda stats: stats.num_scored),
    ("engine_overloaded", "Refused by the model's queue.", lambda stats: stats.num_overloaded),
    ("engine_expired", "Dropped past their deadline.", lambda stats: stats.num_expired),
    ("engine_cancelled", "Dropped, the caller gone.", lambda stats: stats.num_cancelled),
    ("model_failures", "Calls of the model that failed.", lambda stats: stats.num_model_failures),
    ("prefix_cache_hits", "Users found warm.", lambda stats: stats.cache_hits),
    ("prefix_cache_misses", "Users read anew.", lambda stats: stats.cache_misses),
    ("prefix_cache_evictions", "Users who made room.", lambda stats: stats.cache_evictions),
    ("prefix_cache_too_large", "Users who fit no room.", lambda stats: stats.cache_too_large),
)
_GAUGES: tuple[_EngineMetric, ...] = (
    ("queue_length", "Requests that wait for the model.", lambda stats: stats.queue_length),
    ("model_service_seconds", "Mean time for a request.", lambda stats: stats.mean_service_s),
    ("prefix_cache_entries", "Users kept warm.", lambda stats: stats.cache_entries),
    ("prefix_cache_bytes", "Memory that keeps them warm.", lambda stats: stats.cache_bytes),
)


class ServiceMetrics:
    """What is counted, in a registry of its own, so that two servers in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "recsys_requests", "Calls answered.", ["method", "code"], registry=self.registry
        )
        self._durations = Histogram(
            "recsys_request_duration_seconds",
            "From admission to answer.",
            ["method"],
            buckets=_DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "recsys_requests_in_progress", "Calls being answered.", registry=self.registry
        )
        self._rankings = Counter(
            "recsys_rankings",
            "Rankings, by how much of the user they rest on.",
            ["personalization"],
            registry=self.registry,
        )
        self._signatures = Counter(
            "recsys_signatures",
            "Signatures asked for, by whether they know the newest choice.",
            ["freshness"],
            registry=self.registry,
        )
        self._candidates = Counter(
            "recsys_candidates",
            "Candidates, by what became of them.",
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

    def observe_ranking(self, ranking: Ranking) -> None:
        """Count a ranking, so that degraded answers show."""
        self._rankings.labels(ranking.personalization.value).inc()
        for candidate in ranking.candidates:
            self._candidates.labels(candidate.status.value).inc()

    def observe_signature(self, *, is_stale: bool) -> None:
        """Count a signature that was asked for, so that stale answers show."""
        self._signatures.labels("stale" if is_stale else "fresh").inc()

    def watch(self, engine: ScoringEngine) -> None:
        """Report an engine's statistics from now on."""
        self.registry.register(_EngineCollector(engine))

    def serve(self, address: str) -> tuple[str, Callable[[], None]]:
        """Answer http://ADDRESS/metrics on a thread.

        Args:
            address: HOST:PORT; port 0 takes a free one.

        Returns:
            The address taken, and what to call in the end.

        Raises:
            OSError: if the address cannot be taken.
        """
        host, _, port = address.rpartition(":")
        server, thread = start_http_server(int(port), host.strip("[]"), registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return f"{host}:{server.server_port}", stop


class _EngineCollector(Collector):
    """Reads the engine when it is asked, so that nothing is counted twice."""

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
        info = GaugeMetricFamily("recsys_model_info", "The model.", labels=["model_version"])
        info.add_metric([self._engine.model_version], 1)
        yield info
