"""Users: protobuf <-> the records that everything else speaks."""

from recsys.v1 import user_service_pb2 as pb2
from recsys.wire._instants import instant_of, timestamp_of
from storage.records import Consent, ConsentUpdate, Erased, Tombstone, UserSummary


def user_to_wire(user: UserSummary) -> pb2.User:
    """Write what is known of a user."""
    return pb2.User(
        user_id=user.user_id,
        revision=user.revision,
        num_choices=user.num_choices,
        num_pairs=user.num_pairs,
        created_at=timestamp_of(user.created_at),
        last_choice_at=timestamp_of(user.last_choice_at),
        consent=consent_to_wire(user.consent),
    )


def user_from_wire(user: pb2.User) -> UserSummary:
    """Read what is known of a user."""
    has_chosen = user.HasField("last_choice_at")
    return UserSummary(
        user_id=user.user_id,
        revision=user.revision,
        num_choices=user.num_choices,
        num_pairs=user.num_pairs,
        created_at=instant_of(user.created_at),
        last_choice_at=instant_of(user.last_choice_at) if has_chosen else None,
        consent=consent_from_wire(user.consent),
    )


def consent_to_wire(consent: Consent) -> pb2.Consent:
    """Write what a user allows."""
    return pb2.Consent(personalize=consent.personalize, learn_from=consent.learn_from)


def consent_from_wire(consent: pb2.Consent) -> Consent:
    """Read what a user allows; everything, where an older server does not tell."""
    return Consent(
        personalize=consent.personalize or not consent.HasField("personalize"),
        learn_from=consent.learn_from or not consent.HasField("learn_from"),
    )


def consent_update_to_wire(update: ConsentUpdate) -> pb2.UpdateConsentResponse:
    """Write what a user allows now, and what an opt-out reached."""
    return pb2.UpdateConsentResponse(
        consent=pb2.Consent(personalize=update.personalize, learn_from=update.learn_from),
        rewritten_exports=update.rewritten_exports,
        remnants=update.remnants,
    )


def consent_update_from_wire(response: pb2.UpdateConsentResponse) -> ConsentUpdate:
    """Read what a user allows now, and what an opt-out reached."""
    allowed = consent_from_wire(response.consent)
    return ConsentUpdate(
        personalize=allowed.personalize,
        learn_from=allowed.learn_from,
        rewritten_exports=tuple(response.rewritten_exports),
        remnants=tuple(response.remnants),
    )


def erased_to_wire(erased: Erased) -> pb2.EraseUserResponse:
    """Write how much went, and what did not."""
    return pb2.EraseUserResponse(
        num_choices=erased.num_choices,
        num_signatures=erased.num_signatures,
        num_images=erased.num_images,
        num_bytes=erased.num_bytes,
        rewritten_exports=erased.rewritten_exports,
        remnants=erased.remnants,
    )


def erased_from_wire(response: pb2.EraseUserResponse) -> Erased:
    """Read how much went, and what did not."""
    return Erased(
        num_choices=response.num_choices,
        num_signatures=response.num_signatures,
        num_images=response.num_images,
        num_bytes=response.num_bytes,
        rewritten_exports=tuple(response.rewritten_exports),
        remnants=tuple(response.remnants),
    )


def restored_to_wire(tombstone: Tombstone) -> pb2.RestoreUserResponse:
    """Write which erasure was lifted."""
    return pb2.RestoreUserResponse(
        erased_at=timestamp_of(tombstone.erased_at), erased_by=tombstone.erased_by
    )


def restored_from_wire(response: pb2.RestoreUserResponse) -> Tombstone:
    """Read which erasure was lifted."""
    return Tombstone(instant_of(response.erased_at), response.erased_by)
