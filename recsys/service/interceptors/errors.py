"""Errors of a call -> the status that its caller gets. Outermost: it ends the call."""

import logging
import uuid
from typing import Any

from grpc_status import rpc_status

from recsys.service.interceptors.calls import Call, correlation_id
from recsys.wire.statuses import INTERNAL, meaning_of, status_of

logger = logging.getLogger(__name__)


async def map_errors(call: Call) -> Any:
    """Answer a call; end one that fails with the status of its error.

    An error that is not in the table is a bug: it is logged with its traceback, and the caller is
    told nothing but the correlation id.
    """
    correlation_id.set(uuid.uuid4().hex)
    try:
        return await call.proceed()
    except Exception as error:
        status = status_of(error, correlation_id=correlation_id.get())
        if meaning_of(error) is INTERNAL:
            logger.exception("%s failed, correlation id %s", call.method, correlation_id.get())
    # Here everything further in is over: who has the answer finds the call counted. It raises.
    await call.context.abort_with_status(rpc_status.to_status(status))
