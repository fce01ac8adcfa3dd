"""A typed client of a running server; speaks the records of this package, never protobuf."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any

import grpc

from recsys._image_client import ImageCalls
from recsys._retrying_client import Sender
from recsys._similarity_client import SimilarityCalls
from recsys.addresses import host_and_port
from recsys.errors import InvalidRequest
from recsys.fields import require_instant
from recsys.ranking.candidates import Candidate, Ranking
from recsys.reasons import Reason
from recsys.recording import ImageSource, NewChoice
from recsys.v1 import (
    feedback_service_pb2_grpc,
    image_service_pb2_grpc,
    ranking_service_pb2_grpc,
    similarity_service_pb2_grpc,
    user_service_pb2_grpc,
)
from recsys.v1.ranking_service_pb2 import SuggestOnboardingRequest
from recsys.v1.user_service_pb2 import (
    EraseUserRequest,
    GetUserRequest,
    ListChoicesRequest,
    RestoreUserRequest,
    UpdateConsentRequest,
)
from recsys.wire.choices import choice_from_wire, new_choice_to_wire
from recsys.wire.ranking import first_questions_from_wire, rank_request_to_wire, ranking_from_wire
from recsys.wire.users import (
    consent_update_from_wire,
    erased_from_wire,
    restored_from_wire,
    user_from_wire,
)
from storage.coldstart.records import FirstQuestions
from storage.records import Appended, ConsentUpdate, Erased, StoredChoice, Tombstone, UserSummary

_LOOPBACK = ("127.", "localhost:", "[::1]:")


class RecsysClient:
    """Calls a server; a context manager, to be used from any number of threads.

    A call that finds the server UNAVAILABLE is tried up to four times within its timeout. Nothing
    else is retried. Without a connection, the call ends with Unavailable and what keeps it.

    Args:
        address: HOST:PORT.
        timeout_s: of each call, retries included, seconds; above 0.
        wait_for_ready: a call waits for a server that is not up yet, or is loading, for as long as
            its timeout, instead of four tries.

    Raises:
        ValueError: if the address is not HOST:PORT, or the timeout not above 0.

    Attributes:
        similarity: neighbours, signatures and clusters.
        images: takes images down, for administrators.

    Raises (each method):
        InvalidRequest: a field breaks its rule (`field` names it); ImageRefused if an image does.
        NotFound: no such user or stored image.
        PreconditionFailed: something else must be done first; the message tells what. ErasedUser
            for what is to be stored of a user who was erased.
        Overloaded: the server is full; `retry_after_s` tells when to come back.
        DeadlinePassed: no answer within the time.
        Unavailable: no server there, or it is loading, draining or failing, or something else
            answers at the address. As of DeadlinePassed, its `retry_after_s` may be None.
        RecsysError: the server failed otherwise; the message holds the correlation id.
    """

    def __init__(
        self, address: str, *, timeout_s: float = 30.0, wait_for_ready: bool = False
    ) -> None:
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be above 0, got {timeout_s}")
        host_and_port(address)  # of anything else gRPC would say only that nothing answers
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=_options(address))
        self._sender = Sender(self._channel, address, wait_for_ready=wait_for_ready)
        self._ranking = ranking_service_pb2_grpc.RankingServiceStub(self._channel)
        self._feedback = feedback_service_pb2_grpc.FeedbackServiceStub(self._channel)
        self._users = user_service_pb2_grpc.UserServiceStub(self._channel)
        stub = similarity_service_pb2_grpc.SimilarityServiceStub(self._channel)
        self.similarity = SimilarityCalls(stub, self._checked_call)
        images = image_service_pb2_grpc.ImageServiceStub(self._channel)
        self.images = ImageCalls(images, self._checked_call)

    def __enter__(self) -> "RecsysClient":
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; calls in progress fail."""
        self._channel.close()

    def rank(
        self,
        user_id: str,
        candidates: Sequence[Candidate],
        *,
        audience: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Ranking:
        """Order candidates by how much the user would like them.

        A candidate that cannot be scored stands last with its status; the others are ranked.

        Args:
            user_id: 1 to 256 characters; an unknown user gets the taste of people in general.
            candidates: at least one, ids unique, each with image bytes or a SHA-256.
            audience: whose preference tokens score, by the name that the operator has given them;
                empty for the server's own.
            request_id: your id of the call in the server's log, at most 128 characters.
            timeout_s: for this call; None for the client's.
        """
        with _sendable():
            request = rank_request_to_wire(
                user_id, candidates, audience=audience, request_id=request_id
            )
        return ranking_from_wire(self._call(self._ranking.RankCandidates, request, timeout_s))

    def suggest_first_questions(
        self,
        num_pairs: int = 0,
        *,
        user_id: str = "",
        audience: str = "",
        timeout_s: float | None = None,
    ) -> FirstQuestions:
        """Return the first questions to a new user: pairs of images, the most informative first.

        Args:
            num_pairs: 1 to 8; 0 for the server's default, 4.
            user_id: who is to be asked. PreconditionFailed (PERSONALIZATION_OFF) if they do not
                want to be personalised, so that answers would change nothing, and ErasedUser if
                they were erased, so that none would be stored; empty: not checked.
            audience: that the user's rankings will be asked for; empty for the server's own.
            timeout_s: for this call; None for the client's.
        """
        with _sendable():
            request = SuggestOnboardingRequest(
                num_pairs=num_pairs, user_id=user_id, audience=audience
            )
        return first_questions_from_wire(
            self._call(self._ranking.SuggestOnboarding, request, timeout_s)
        )

    def record_choice(
        self,
        user_id: str,
        *,
        liked: ImageSource | None = None,
        passed_over: Sequence[ImageSource] = (),
        prompt: str = "",
        chosen_at: datetime | None = None,
        request_id: str | None = None,
        shareable: bool = False,
        timeout_s: float | None = None,
    ) -> Appended:
        """Store a user's choice.

        Args:
            user_id: 1 to 256 characters; a first choice creates the user.
            liked: encoded bytes, or the SHA-256 of a stored image; None: only passed over.
            passed_over: likewise; may be empty when `liked` is given.
            prompt: what the images were made from, at most 10,000 characters.
            chosen_at: with a time zone, of the years 2 to 9998; None: now, by the server's clock.
            request_id: unique per choice: a repeat stores nothing and returns the first answer.
                None: a new one, so that a call that is retried is stored once.
            shareable: mark the images as such: other users may be shown them. False leaves the
                marks of stored images as they are.
            timeout_s: for this call; None for the client's.

        Returns:
            The choice as stored; its SHA-256 can stand for the images in later calls.
        """
        if chosen_at is not None:
            require_instant(chosen_at)
        new = NewChoice(
            user_id=user_id,
            liked=liked,
            passed_over=tuple(passed_over),
            prompt=prompt,
            chosen_at=chosen_at,
            request_id=request_id or str(uuid.uuid4()),
            shareable=shareable,
        )
        with _sendable():
            request = new_choice_to_wire(new)
        response = self._call(self._feedback.RecordChoice, request, timeout_s)
        return Appended(choice_from_wire(response.choice, user_id), response.is_repeat)

    def get_user(self, user_id: str, *, timeout_s: float | None = None) -> UserSummary:
        """Return a summary of a user's history."""
        with _sendable():
            request = GetUserRequest(user_id=user_id)
        return user_from_wire(self._call(self._users.GetUser, request, timeout_s).user)

    def list_choices(
        self, user_id: str, *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[StoredChoice]:
        """Yield a user's choices, oldest first; asks for the next page when it is needed.

        Args:
            user_id: whose.
            page_size: choices per call; 0 for the server's default.
            timeout_s: for each page; None for the client's.
        """
        token = ""
        while True:
            with _sendable():
                request = ListChoicesRequest(user_id=user_id, page_size=page_size, page_token=token)
            page = self._call(self._users.ListChoices, request, timeout_s)
            yield from (choice_from_wire(each, user_id) for each in page.choices)
            token = page.next_page_token
            if not token:
                return

    def erase_user(self, user_id: str, *, timeout_s: float | None = None) -> Erased:
        """Erase a user; return how much was erased, and what remains. It cannot be undone."""
        with _sendable():
            request = EraseUserRequest(user_id=user_id)
        return erased_from_wire(self._call(self._users.EraseUser, request, timeout_s))

    def restore_user(self, user_id: str, *, timeout_s: float | None = None) -> Tombstone:
        """Let an erased user be stored again; return when and by whom they had been erased."""
        with _sendable():
            request = RestoreUserRequest(user_id=user_id)
        return restored_from_wire(self._call(self._users.RestoreUser, request, timeout_s))

    def update_consent(
        self,
        user_id: str,
        *,
        personalize: bool | None = None,
        learn_from: bool | None = None,
        timeout_s: float | None = None,
    ) -> ConsentUpdate:
        """Change what a user allows, also before their first choice, and return all of it.

        Who opts out leaves exported clusters, where the server reaches the files.

        Args:
            user_id: who.
            personalize: rank by their choices, and read a signature from them; None: as it is.
            learn_from: learn from their choices what others see; None: as it is.
            timeout_s: for this call; None for the client's.
        """
        with _sendable():
            request = UpdateConsentRequest(user_id=user_id)
            if personalize is not None:
                request.personalize = personalize
            if learn_from is not None:
                request.learn_from = learn_from
        return consent_update_from_wire(self._call(self._users.UpdateConsent, request, timeout_s))

    def _checked_call(
        self,
        method: Callable[..., Any],
        kind: Callable[..., Any],
        timeout_s: float | None,
        **fields: Any,
    ) -> Any:
        with _sendable():
            request = kind(**fields)
        return self._call(method, request, timeout_s)

    def _call(self, method: Callable[..., Any], request: Any, timeout_s: float | None) -> Any:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        return self._sender.send(method, request, timeout_s)


def _options(address: str) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5000),
    ]
    if address.startswith(_LOOPBACK):
        # gRPC would send even calls to this machine through the proxy of the environment.
        options.append(("grpc.enable_http_proxy", 0))
    return options


@contextmanager
def _sendable() -> Iterator[None]:
    """Turn protobuf's refusal of a value into the package's own error."""
    try:
        yield
    except InvalidRequest:
        raise
    except ValueError as error:
        raise InvalidRequest(
            f"the request must hold valid Unicode and numbers in range: {error}",
            reason=Reason.REQUEST_MALFORMED,
        ) from error
