"""What Prometheus reads, and what the access log says."""

import logging
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recsys.errors import InvalidRequest
from recsys.ranking.candidates import Candidate

USER = "ann-whose-name-is-nobodys-business"


@pytest.fixture
def scraped(live):
    """Read the metrics over HTTP: values by sample name and labels."""
    address, stop = live.service.metrics.serve("127.0.0.1:0")
    # No proxy of the environment: what it is set to must not matter to a call to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def read():
        with opener.open(f"http://{address}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        assert USER not in text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    yield read
    stop()


def test_calls_rankings_and_candidates_are_counted(client, candidate, scraped):
    client.rank(USER, [candidate("a", 1), Candidate("b", "", image=b"no image")])
    with pytest.raises(InvalidRequest):
        client.rank(USER, [])

    values = scraped()

    def calls(code):
        return values["recsys_requests_total", (("code", code), ("method", "RankCandidates"))]

    assert (calls("OK"), calls("INVALID_ARGUMENT")) == (1, 1)
    labels = (("audience", ""), ("personalization", "COLD_START"))
    assert values["recsys_rankings_total", labels] == 1
    assert values["recsys_candidates_total", (("status", "RANKED"),)] == 1
    assert values["recsys_candidates_total", (("status", "INVALID_IMAGE"),)] == 1
    assert values["recsys_request_duration_seconds_count", (("method", "RankCandidates"),)] == 2
    assert values["recsys_requests_in_progress", ()] == 0


def test_the_engine_is_told(client, candidate, scraped):
    for _ in range(3):
        client.rank(USER, [candidate("a", 1), candidate("b", 2)])

    values = scraped()

    assert values["recsys_scored_candidates_total", ()] == 6
    assert values["recsys_prefix_cache_misses_total", ()] == 1
    assert values["recsys_prefix_cache_hits_total", ()] == 2
    assert values["recsys_prefix_cache_entries", ()] == 1
    assert values["recsys_queue_length", ()] == 0
    assert values["recsys_ready", ()] == 1
    labels = (("audience", ""), ("model_version", "fake-version"))
    assert values["recsys_model_info", labels] == 1


def test_names_are_the_packages_own_in_base_units_and_name_no_user(scraped):
    names = {name for name, _ in scraped()}
    labels = {label for _, pairs in scraped() for label, _ in pairs}

    assert all(name.startswith("recsys_") for name in names)
    assert not any("_ms" in name or "_mb" in name for name in names)
    assert labels <= {
        "method",
        "code",
        "personalization",
        "status",
        "le",
        "model_version",
        "audience",
    }


def test_the_access_log_has_a_line_for_each_call_and_no_user(client, candidate, caplog):
    with caplog.at_level(logging.INFO, "recsys.access"):
        client.rank(USER, [candidate("a", 1)], request_id="r-7\nforged line")
        with pytest.raises(InvalidRequest):
            client.rank(USER, [])

    lines = [record.getMessage() for record in caplog.records if record.name == "recsys.access"]
    assert [line.split()[:2] for line in lines] == [
        ["RankCandidates", "OK"],
        ["RankCandidates", "INVALID_ARGUMENT"],
    ]
    assert r"request_id='r-7\nforged line'" in lines[0]
    assert not any(USER in line or "\n" in line for line in lines)


def test_two_services_in_a_process_do_not_mix(make_live):
    first, second = make_live(), make_live()
    first.load()
    second.load()

    first.service.metrics.observe_call("X", "OK", 0.1)

    assert first.num_answered("X", "OK") == 1
    assert second.num_answered("X", "OK") == 0
