"""Rankings: protobuf <-> the records that everything else speaks."""

from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any, TypeVar

from recsys.errors import RecsysError
from recsys.ranking.candidates import (
    Candidate,
    CandidateStatus,
    Personalization,
    RankedCandidate,
    Ranking,
    require_one_source,
)
from recsys.scorer.borrowed import Borrowed
from recsys.v1 import image_pb2, ranking_service_pb2
from recsys.wire._images import image_from_wire
from storage.coldstart.records import FirstQuestion, FirstQuestions

Named = TypeVar("Named", bound=Enum)


def rank_request_to_wire(
    user_id: str, candidates: Sequence[Candidate], *, audience: str = "", request_id: str = ""
) -> ranking_service_pb2.RankCandidatesRequest:
    """Write a request; a candidate without a source goes out as it is, to be refused.

    Raises:
        InvalidRequest: if a candidate has both sources, for only one of them could be sent.
    """
    for index, candidate in enumerate(candidates):
        require_one_source(candidate, f"candidates[{index}]")
    return ranking_service_pb2.RankCandidatesRequest(
        user_id=user_id,
        candidates=[
            ranking_service_pb2.Candidate(
                id=each.id,
                prompt=each.prompt,
                image=image_pb2.Image(data=each.image, sha256=each.sha256),
            )
            for each in candidates
        ],
        request_id=request_id,
        audience=audience,
    )


def candidates_from_wire(
    request: ranking_service_pb2.RankCandidatesRequest,
) -> list[Candidate]:
    """Read candidates; one without an image comes out so."""
    candidates = []
    for each in request.candidates:
        source = image_from_wire(each.image)
        image = source if isinstance(source, bytes) else None
        sha256 = source if isinstance(source, str) else None
        candidates.append(Candidate(each.id, each.prompt, image=image, sha256=sha256))
    return candidates


def ranking_to_wire(ranking: Ranking) -> ranking_service_pb2.RankCandidatesResponse:
    """Write a ranking; a score that is None stays unset."""
    return ranking_service_pb2.RankCandidatesResponse(
        user_id=ranking.user_id,
        candidates=[
            ranking_service_pb2.RankedCandidate(
                id=each.id,
                score=each.score,
                rank=each.rank,
                status=_wire_name(each.status),
                message=each.message,
                reason=each.reason,
            )
            for each in ranking.candidates
        ],
        model_version=ranking.model_version,
        num_references=ranking.num_references,
        personalization=_wire_name(ranking.personalization),
        num_borrowed_references=ranking.borrowed.num_references,
        num_neighbours=ranking.borrowed.num_neighbours,
        population_version=ranking.borrowed.population_version,
        is_opted_out=ranking.is_opted_out,
    )


def ranking_from_wire(response: ranking_service_pb2.RankCandidatesResponse) -> Ranking:
    """Read a ranking.

    Raises:
        RecsysError: if it says what this version does not know.
    """
    return Ranking(
        user_id=response.user_id,
        model_version=response.model_version,
        personalization=_member(
            ranking_service_pb2.Personalization, response.personalization, Personalization
        ),
        num_references=response.num_references,
        borrowed=Borrowed(
            response.num_borrowed_references,
            response.num_neighbours,
            response.population_version,
        ),
        is_opted_out=response.is_opted_out,
        candidates=tuple(
            RankedCandidate(
                id=each.id,
                score=each.score if each.HasField("score") else None,
                rank=each.rank if each.HasField("rank") else None,
                status=_member(ranking_service_pb2.CandidateStatus, each.status, CandidateStatus),
                message=each.message,
                reason=each.reason,
            )
            for each in response.candidates
        ),
    )


def first_questions_to_wire(
    questions: FirstQuestions, *, num_pairs: int
) -> ranking_service_pb2.SuggestOnboardingResponse:
    """Write the first `num_pairs` of them."""
    return ranking_service_pb2.SuggestOnboardingResponse(
        pairs=[
            ranking_service_pb2.OnboardingPair(**asdict(pair))
            for pair in questions.pairs[:num_pairs]
        ],
        population_version=questions.population_version,
    )


def first_questions_from_wire(
    response: ranking_service_pb2.SuggestOnboardingResponse,
) -> FirstQuestions:
    """Read a response."""
    return FirstQuestions(
        response.population_version,
        tuple(
            FirstQuestion(each.first_sha256, each.second_sha256, each.prompt, each.information_bits)
            for each in response.pairs
        ),
    )


# The wire's enumerators are the records' names after the type's own: RANKED is
# CANDIDATE_STATUS_RANKED.
_PREFIXES: dict[type[Enum], str] = {
    CandidateStatus: "CANDIDATE_STATUS_",
    Personalization: "PERSONALIZATION_",
}


def _wire_name(member: Enum) -> str:
    return f"{_PREFIXES[type(member)]}{member.value}"


def _member(enum: Any, number: int, kind: type[Named]) -> Named:
    try:
        return kind(enum.Name(number).removeprefix(_PREFIXES[kind]))
    except ValueError as error:
        raise RecsysError(
            f"the server answered {number} for a {kind.__name__}, which this version does not"
            " know: upgrade the package"
        ) from error
