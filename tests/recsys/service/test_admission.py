"""A full service tells when calls are likely to have gone, by how long they take."""

import pytest

from recsys.errors import Overloaded
from recsys.service.interceptors.admission import Admission
from recsys.service.metrics import ServiceMetrics


def test_a_full_service_tells_how_long_calls_take():
    now = [0.0]
    admission = Admission(ServiceMetrics(), max_calls=1, clock=lambda: now[0])
    admission.open()

    def refused_for():
        with admission.entered(), pytest.raises(Overloaded) as refused, admission.entered():
            pass
        return refused.value.retry_after_s

    assert refused_for() == 1.0  # nothing is known yet
    with admission.entered():
        now[0] += 10.0
    assert refused_for() == 10.0
    with admission.entered():
        now[0] += 5.0
    assert 5.0 < refused_for() < 10.0
