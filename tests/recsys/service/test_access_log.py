"""A call that is cancelled: at its deadline, or because its caller has gone."""

import asyncio
from unittest.mock import Mock

import pytest

from recsys.service._call_context import CallContext
from recsys.service.interceptors.access_log import AccessLog
from recsys.service.interceptors.calls import Call, correlation_id
from recsys.service.metrics import ServiceMetrics


@pytest.mark.parametrize(
    ("given_s", "took_s", "code"),
    [
        (2.0, 2.0, "DEADLINE_EXCEEDED"),
        # The caller gave 2 s, of which gRPC made 2.01 s: at the caller's end some is left.
        (2.01, 2.0, "DEADLINE_EXCEEDED"),
        (1010.0, 1000.0, "DEADLINE_EXCEEDED"),
        (2.0, 1.0, "CANCELLED"),
        (None, 1000.0, "CANCELLED"),
    ],
)
async def test_a_call_that_ends_at_its_deadline_is_counted_as_late(given_s, took_s, code):
    metrics = ServiceMetrics()
    now = [0.0]
    correlation_id.set("c")
    context = Mock(spec=CallContext)
    context.time_remaining.return_value = given_s

    async def proceed():
        now[0] += took_s
        raise asyncio.CancelledError

    log = AccessLog(metrics, clock=lambda: now[0])
    with pytest.raises(asyncio.CancelledError):
        await log.answer(Call("GetUser", None, context, proceed))

    labels = {"method": "GetUser", "code": code}
    assert metrics.registry.get_sample_value("recsys_requests_total", labels) == 1
