"""UserService of recsys.v1."""

from collections.abc import Callable
from concurrent.futures import Executor

from recsys.erasure.opt_out import update_consent
from recsys.fields import require_user_id
from recsys.runtime import Runtime
from recsys.service._call_context import CallContext
from recsys.service._pages import fitting, number_of, number_token, page_size
from recsys.service._served import Served
from recsys.service._threads import in_thread
from recsys.v1 import user_service_pb2 as pb2
from recsys.v1 import user_service_pb2_grpc
from recsys.wire.choices import choice_to_wire
from recsys.wire.users import consent_update_to_wire, erased_to_wire, restored_to_wire, user_to_wire
from storage.records import ConsentUpdate, Erased

BY = "rpc"


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Tells what is known of a user, keeps their consent, erases them and lets them come back.

    Args:
        runtime: whose storage is read.
        served: the model that forgets who is erased.
        threads: to block in.
        on_erased: called after each erasure, to drop what else memory holds.
    """

    def __init__(
        self, runtime: Runtime, served: Served, threads: Executor, *, on_erased: Callable[[], None]
    ) -> None:
        self._store = runtime.store
        self._eraser = runtime.eraser
        self._consents = runtime.consents
        self._served = served
        self._threads = threads
        self._on_erased = on_erased

    async def GetUser(
        self, request: pb2.GetUserRequest, context: CallContext
    ) -> pb2.GetUserResponse:
        """Count a user's history."""
        require_user_id(request.user_id)
        user = await in_thread(self._threads, self._store.user, request.user_id)
        return pb2.GetUserResponse(user=user_to_wire(user))

    async def ListChoices(
        self, request: pb2.ListChoicesRequest, context: CallContext
    ) -> pb2.ListChoicesResponse:
        """List a page of a user's choices."""
        require_user_id(request.user_id)
        after = number_of(_query(request.user_id), request.page_token)
        size = page_size(request.page_size)
        return await in_thread(self._threads, self._page, request.user_id, after, size)

    async def EraseUser(
        self, request: pb2.EraseUserRequest, context: CallContext
    ) -> pb2.EraseUserResponse:
        """Remove a user from storage and from memory."""
        require_user_id(request.user_id)
        return erased_to_wire(await in_thread(self._threads, self._erase, request.user_id))

    async def RestoreUser(
        self, request: pb2.RestoreUserRequest, context: CallContext
    ) -> pb2.RestoreUserResponse:
        """Let an erased user be stored again."""
        require_user_id(request.user_id)
        tombstone = await in_thread(self._threads, self._store.restore, request.user_id)
        return restored_to_wire(tombstone)

    async def UpdateConsent(
        self, request: pb2.UpdateConsentRequest, context: CallContext
    ) -> pb2.UpdateConsentResponse:
        """Change what a user allows."""
        require_user_id(request.user_id)
        update = await in_thread(self._threads, self._update_consent, request)
        return consent_update_to_wire(update)

    def _update_consent(self, request: pb2.UpdateConsentRequest) -> ConsentUpdate:
        personalize = request.personalize if request.HasField("personalize") else None
        learn_from = request.learn_from if request.HasField("learn_from") else None
        try:
            return update_consent(
                self._store,
                self._consents,
                request.user_id,
                personalize=personalize,
                learn_from=learn_from,
            )
        finally:
            if personalize is False:
                self._forget(request.user_id)

    def _page(self, user_id: str, after: int, size: int) -> pb2.ListChoicesResponse:
        # One more than asked for tells whether there is a next page.
        rows = self._store.list_choices(user_id, after_choice_id=after, limit=size + 1)
        choices = fitting(map(choice_to_wire, rows[:size]))
        token = ""
        if len(choices) < len(rows):
            token = number_token(_query(user_id), choices[-1].choice_id)
        return pb2.ListChoicesResponse(choices=choices, next_page_token=token)

    def _erase(self, user_id: str) -> Erased:
        # In the thread and whatever happens: the caller may be gone when storage is done, and
        # memory must not outlive it.
        try:
            return self._eraser.erase(user_id, by=BY)
        finally:
            self._forget(user_id)
            self._on_erased()

    def _forget(self, user_id: str) -> None:
        if self._served.is_loaded:
            self._served.model.engine.forget(user_id)


def _query(user_id: str) -> tuple[str, str]:
    return "ListChoices", user_id
