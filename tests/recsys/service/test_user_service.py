"""GetUser, ListChoices, EraseUser, RestoreUser and UpdateConsent through a real channel."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ErasedUser, InvalidRequest, NotFound, PreconditionFailed
from recsys.ranking.candidates import Personalization
from recsys.reasons import Reason
from recsys.service import _pages as pages
from recsys.service._pages import number_of, number_token
from recsys.v1 import user_service_pb2 as pb2
from recsys.v1.user_service_pb2 import ListChoicesRequest
from recsys.v1.user_service_pb2_grpc import UserServiceStub
from recsys.wire.users import consent_from_wire, consent_to_wire
from storage.clusters.exports import ClusterExportStore
from storage.identity_keys import NO_KEYS
from storage.records import Consent, ConsentUpdate
from storage.trainings import TrainingStore


def listing(user_id):
    """The query that a page token of a user's choices is bound to."""
    return "ListChoices", user_id


@pytest.fixture
def five(client, png):
    """Five choices of ann and one of bob."""
    client.record_choice("bob", liked=png(100))
    return [
        client.record_choice("ann", liked=png(n), passed_over=[png(100)], prompt=f"p{n}").stored
        for n in range(5)
    ]


def test_a_user_is_told_in_numbers(client, five):
    user = client.get_user("ann")

    assert (user.user_id, user.revision, user.num_choices, user.num_pairs) == ("ann", 5, 5, 5)
    assert user.created_at <= user.last_choice_at
    assert user.created_at.utcoffset().total_seconds() == 0


@pytest.mark.parametrize("page_size", [0, 1, 2, 4, 5, 6, 2**31 - 1])
def test_pages_hold_each_choice_once_oldest_first(client, five, page_size):
    assert list(client.list_choices("ann", page_size=page_size)) == five


def test_a_page_has_the_size_asked_for(channel, five):
    stub = UserServiceStub(channel)

    first = stub.ListChoices(ListChoicesRequest(user_id="ann", page_size=2))
    rest = stub.ListChoices(
        ListChoicesRequest(user_id="ann", page_size=3, page_token=first.next_page_token)
    )

    assert [each.revision for each in first.choices] == [1, 2]
    assert [each.revision for each in rest.choices] == [3, 4, 5]
    assert rest.next_page_token == ""


def test_a_page_ends_when_it_gets_large(monkeypatch, channel, client, five):
    """Or a list of long prompts could not be read by a client with gRPC's usual limits."""
    monkeypatch.setattr("recsys.service._pages.MAX_PAGE_BYTES", 1)

    page = UserServiceStub(channel).ListChoices(ListChoicesRequest(user_id="ann"))

    assert len(page.choices) == 1
    assert list(client.list_choices("ann")) == five


def test_choices_that_come_between_pages_are_listed(client, five, png):
    listing = client.list_choices("ann", page_size=2)
    seen = [next(listing)]
    late = client.record_choice("ann", liked=png(77)).stored

    assert [*seen, *listing] == [*five, late]


@pytest.mark.parametrize(
    "token",
    [
        "forged",
        "é",
        number_token(listing("bob"), 1),
        number_token(listing("ann"), 1)[:-1],
        number_token(listing("ann"), 1)[4:],
        base64.urlsafe_b64encode(bytes(24)).decode(),
        "A" * 100_000,
    ],
    ids=["forged", "no-ascii", "of-another-user", "cut", "cut-in-front", "zeros", "long"],
)
def test_a_token_of_another_list_is_refused(client, channel, five, token):
    with pytest.raises(InvalidRequest) as refused:
        client._call(
            client._users.ListChoices, ListChoicesRequest(user_id="ann", page_token=token), None
        )

    assert refused.value.field == "page_token"


def test_a_negative_page_size_is_refused(client, five):
    with pytest.raises(InvalidRequest) as refused:
        list(client.list_choices("ann", page_size=-1))

    assert refused.value.field == "page_size"


def test_erasing_tells_how_much_went(live, client, five, png):
    erased = client.erase_user("ann")

    assert (erased.num_choices, erased.num_signatures, erased.num_images) == (5, 0, 5)
    assert erased.num_bytes == sum(len(png(n)) for n in range(5))
    assert live.store.image(five[0].choice.passed_over[0])  # bob's too
    with pytest.raises(NotFound):
        client.get_user("ann")
    assert client.get_user("bob").num_choices == 1


def test_erasing_tells_what_still_holds_something_of_the_user(live, client, five, tmp_path):
    TrainingStore(live.store.database).record(str(tmp_path / "run"))

    (remnant,) = client.erase_user("ann").remnants

    assert remnant.startswith(f"perhaps the training in {tmp_path / 'run'} of")


def test_what_is_in_memory_is_forgotten_even_if_storage_fails(live, client, monkeypatch):
    forgotten = []
    monkeypatch.setattr(live.engine, "forget", forgotten.append)

    with pytest.raises(NotFound):
        client.erase_user("nobody")

    assert forgotten == ["nobody"]


def test_an_erased_user_is_kept_out_and_may_be_let_back(live, client, five, png):
    client.erase_user("ann")

    with pytest.raises(NotFound, match=r"was erased on .* by rpc"):
        client.erase_user("ann")
    with pytest.raises(ErasedUser, match="'ann'"):
        client.record_choice("ann", liked=png(1), request_id="again")
    with pytest.raises(NotFound):
        client.get_user("ann")
    lifted = client.restore_user("ann")
    assert lifted.erased_by == "rpc"
    assert lifted.erased_at.utcoffset().total_seconds() == 0
    assert client.record_choice("ann", liked=png(1), request_id="again").stored.revision == 1


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize("user_id", ["ann", "nobody"])
def test_who_was_not_erased_cannot_be_restored(client, user_id):
    with pytest.raises(NotFound, match="was not erased") as refused:
        client.restore_user(user_id)

    assert refused.value.reason == Reason.USER_NOT_ERASED


def test_a_server_without_the_key_records_nothing(live, client, five, png, monkeypatch):
    client.erase_user("ann")
    monkeypatch.setattr(live.store, "keys", NO_KEYS)

    with pytest.raises(PreconditionFailed, match="identity_key") as refused:
        client.record_choice("ann", liked=png(1))
    assert type(refused.value) is PreconditionFailed


def calls(client, user_id):
    return [
        lambda: client.get_user(user_id),
        lambda: list(client.list_choices(user_id)),
        lambda: client.erase_user(user_id),
        lambda: client.restore_user(user_id),
        lambda: client.update_consent(user_id, personalize=False),
    ]


@pytest.mark.parametrize("nth", range(5), ids=["get", "list", "erase", "restore", "consent"])
@pytest.mark.parametrize("user_id", ["", "u" * 1000, "nul \0", "line\n"])
def test_a_bad_user_id_is_named(client, user_id, nth):
    with pytest.raises(InvalidRequest) as refused:
        calls(client, user_id)[nth]()

    assert refused.value.field == "user_id"


@pytest.mark.parametrize(
    ("nth", "advice"),
    [
        *((0, "check the id"), (1, "check the id")),
        *((2, "there is nothing to erase"), (3, "there is nothing to restore")),
    ],
    ids=["get", "list", "erase", "restore"],
)
def test_an_unknown_user_is_not_found_and_the_caller_told_what_fits(client, nth, advice):
    with pytest.raises(NotFound, match=f"nobody.* {advice}"):
        calls(client, "nobody")[nth]()


@given(st.text(), st.integers(0, 2**63 - 1))
def test_a_token_tells_its_place_to_its_own_list(user_id, choice_id):
    assert number_of(listing(user_id), number_token(listing(user_id), choice_id)) == choice_id


@given(st.text(max_size=5), st.text(max_size=5), st.integers(0, 100))
def test_a_token_tells_nothing_to_another_list(user_id, other, choice_id):
    if user_id == other:
        return
    with pytest.raises(InvalidRequest):
        number_of(listing(other), number_token(listing(user_id), choice_id))


def test_the_default_and_the_largest_page():
    assert pages.page_size(0) == 100
    assert pages.page_size(1) == 1
    assert pages.page_size(10**9) == 1000


def test_who_opts_out_is_ranked_by_the_general_taste_and_told_so(live, client, png, candidate):
    candidates = [candidate("dark", 20), candidate("light", 240)]
    for _ in range(2):
        client.record_choice("ann", liked=png(10), passed_over=[png(250)])
    stranger = client.rank("stranger", candidates)
    personal = client.rank("ann", candidates)
    assert [each.id for each in personal.candidates] == ["dark", "light"]

    assert client.update_consent("ann", personalize=False) == ConsentUpdate(False, True)

    assert not client.get_user("ann").consent.personalize
    general = client.rank("ann", candidates)
    assert (general.is_opted_out, general.num_references) == (True, 0)
    assert general.personalization is Personalization.COLD_START
    assert general.candidates == stranger.candidates
    assert not stranger.is_opted_out
    assert client.record_choice("ann", liked=png(11)).stored.revision == 3
    assert client.update_consent("ann", personalize=True) == ConsentUpdate(True, True)
    assert not client.rank("ann", candidates).is_opted_out


def test_what_is_in_memory_of_who_opts_out_is_forgotten(live, client, monkeypatch):
    forgotten = []
    monkeypatch.setattr(live.engine, "forget", forgotten.append)

    client.update_consent("ann", personalize=True)
    assert forgotten == []
    client.update_consent("ann", personalize=False)

    assert forgotten == ["ann"]


def test_who_is_not_learned_from_is_told_so_and_still_personal(client, five):
    assert client.update_consent("ann", learn_from=False) == ConsentUpdate(True, False)

    assert client.get_user("ann").consent == Consent(personalize=True, learn_from=False)
    assert client.update_consent("ann", learn_from=True) == ConsentUpdate(True, True)


def test_who_opts_out_leaves_exports_that_the_server_reaches(live, client, five, tmp_path):
    folder, gone = tmp_path / "out", tmp_path / "gone"
    folder.mkdir()
    (folder / "members.csv").write_text("user_id,cluster_id,similarity\nann,1,1.0\nbob,1,1.0\n")
    cluster = 'cluster_id,size,medoid,typical_members\n1,2,ann,"[""ann"", ""bob""]"\n'
    (folder / "clusters.csv").write_text(cluster)
    for each in (folder, gone):
        ClusterExportStore(live.store.database).record(1, str(each), "csv")

    update = client.update_consent("ann", learn_from=False)

    assert update.rewritten_exports == (str(folder),)
    (remnant,) = update.remnants
    assert str(gone) in remnant
    assert "ann" not in "".join(path.read_text() for path in folder.iterdir())


def test_an_erased_user_gives_no_consent(client, five):
    client.erase_user("ann")

    with pytest.raises(ErasedUser, match="nothing of erased users is stored, got 'ann'"):
        client.update_consent("ann", personalize=False)


def test_a_server_that_tells_no_consent_is_an_older_one():
    assert consent_from_wire(pb2.Consent()) == Consent()
    for personalize, learn_from in ((True, True), (True, False), (False, True)):
        consent = Consent(personalize, learn_from)
        assert consent_from_wire(consent_to_wire(consent)) == consent
