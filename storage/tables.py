"""Table definitions, nothing else. Instants are UTC; ids of users and requests are opaque text."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# Ids sort by code point on every database, whatever its locale: pages, and the order in which
# writers lock, are the same everywhere.
Id = String(256).with_variant(String(256, collation="C"), "postgresql")
Number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite autoincrements INTEGER only


class Instant(TypeDecorator[datetime]):
    """An instant in UTC; SQLite stores no time zone, so reading restores it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware -> UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Whatever the driver gives -> aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """All tables of this package."""

    metadata = MetaData(naming_convention=NAMES)


class UserRow(Table):
    """A user; `revision` counts choices, and begins at 0 again after an erasure."""

    __tablename__ = "users"

    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    revision: Mapped[int] = mapped_column(Number)
    created_at: Mapped[datetime] = mapped_column(Instant)
    personalize: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())
    learn_from: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())


class TombstoneRow(Table):
    """That somebody was erased and must not come back: a keyed digest, and no id."""

    __tablename__ = "tombstones"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(16), index=True)
    erased_at: Mapped[datetime] = mapped_column(Instant)
    erased_by: Mapped[str] = mapped_column(String(256))


class ImageRow(Table):
    """What is known of a stored image; its bytes are a blob under the same digest."""

    __tablename__ = "images"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(64))
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    num_bytes: Mapped[int] = mapped_column(Number)
    created_at: Mapped[datetime] = mapped_column(Instant)
    shareable: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())


class BlockedImageRow(Table):
    """An image that was taken down and is accepted nowhere again."""

    __tablename__ = "blocked_images"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    blocked_at: Mapped[datetime] = mapped_column(Instant)
    blocked_by: Mapped[str] = mapped_column(String(256))
    reason: Mapped[str] = mapped_column(Text)


class ChoiceRow(Table):
    """One act of a user."""

    __tablename__ = "choices"
    __table_args__ = (
        UniqueConstraint("user_id", "revision"),
        UniqueConstraint("user_id", "request_id"),
        # Otherwise SQLite reuses the ids of erased choices, and old page tokens go wrong.
        {"sqlite_autoincrement": True},
    )

    choice_id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"))
    revision: Mapped[int] = mapped_column(Number)
    liked: Mapped[str | None] = mapped_column(ForeignKey("images.sha256"), index=True)
    prompt: Mapped[str] = mapped_column(Text)
    chosen_at: Mapped[datetime] = mapped_column(Instant)
    source: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(128))
    recorded_at: Mapped[datetime] = mapped_column(Instant)
    dataset: Mapped[str | None] = mapped_column(Text)  # that an importer read it from


class PassedOverRow(Table):
    """An image that a choice passed over."""

    __tablename__ = "choice_passed_over"
    __table_args__ = (Index(None, "sha256"),)

    choice_id: Mapped[int] = mapped_column(
        ForeignKey("choices.choice_id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"))


class SignatureRow(Table):
    """A user's vector under one model version: E little-endian float32.

    `sequence` grows with every put under a model version, so that a reader can ask what is new.
    """

    __tablename__ = "signatures"
    __table_args__ = (Index(None, "model_version", "sequence", unique=True),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    model_version: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int] = mapped_column(Number)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(Instant)
    sequence: Mapped[int] = mapped_column(Number)


class SignatureCounterRow(Table):
    """The last sequence given under a model version; outlives signatures, so none is reused."""

    __tablename__ = "signature_counters"

    model_version: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_sequence: Mapped[int] = mapped_column(Number)


class BackfillRow(Table):
    """The outcome of the last attempt to compute a user's signature under a model version."""

    __tablename__ = "backfill_ledger"
    __table_args__ = (Index(None, "model_version", "state", "user_id"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    model_version: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int] = mapped_column(Number)
    job: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    error: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(Instant)


class ClusterRunRow(Table):
    """One clustering of a model version's signatures; no name or end while it is being built."""

    __tablename__ = "cluster_runs"
    # Otherwise SQLite reuses the ids of removed runs, and old page tokens go wrong.
    __table_args__ = (UniqueConstraint("name"), {"sqlite_autoincrement": True})

    run_id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    name: Mapped[str | None] = mapped_column(String(128))
    model_version: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(16))
    parameters: Mapped[str] = mapped_column(Text)
    num_users: Mapped[int] = mapped_column(Number)
    num_clusters: Mapped[int] = mapped_column(Integer)
    num_unclustered: Mapped[int] = mapped_column(Number)
    begun_at: Mapped[datetime] = mapped_column(Instant)
    created_at: Mapped[datetime | None] = mapped_column(Instant)


class ClusterRow(Table):
    """A cluster of a run. Its centroid is E little-endian float32; its words are JSON."""

    __tablename__ = "clusters"
    __table_args__ = (UniqueConstraint("run_id", "cluster_id"),)

    run_id: Mapped[int] = mapped_column(
        ForeignKey("cluster_runs.run_id", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    cluster_id: Mapped[int] = mapped_column(Number)
    size: Mapped[int] = mapped_column(Number)
    cohesion: Mapped[float] = mapped_column(Double)
    centroid: Mapped[bytes] = mapped_column(LargeBinary)
    words: Mapped[str] = mapped_column(Text)
    distance: Mapped[float | None] = mapped_column(Double)
    num_joined: Mapped[int | None] = mapped_column(Number)
    num_left: Mapped[int | None] = mapped_column(Number)


class ClusterMemberRow(Table):
    """A member of a cluster, by its place; stored while the run is still being built."""

    __tablename__ = "cluster_members"
    __table_args__ = (Index(None, "run_id", "place", "similarity"), Index(None, "user_id"))

    run_id: Mapped[int] = mapped_column(
        ForeignKey("cluster_runs.run_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer)
    similarity: Mapped[float] = mapped_column(Double)


class ClusterImageRow(Table):
    """An image that a cluster likes more (z above 0) or less than everyone else."""

    __tablename__ = "cluster_images"
    __table_args__ = (Index(None, "sha256"),)

    run_id: Mapped[int] = mapped_column(
        ForeignKey("cluster_runs.run_id", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"), primary_key=True)
    num_likes: Mapped[int] = mapped_column(Number)
    num_passes: Mapped[int] = mapped_column(Number)
    overall_rate: Mapped[float] = mapped_column(Double)
    z: Mapped[float] = mapped_column(Double)
    num_users: Mapped[int | None] = mapped_column(Number)  # who saw it, members or not
    q: Mapped[float | None] = mapped_column(Double)  # z, corrected for how many were compared


class ClusterNameRow(Table):
    """What an analyst calls a cluster; the name stays with the id, whatever run it is in."""

    __tablename__ = "cluster_names"

    cluster_id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(128))
    named_at: Mapped[datetime] = mapped_column(Instant)


class ClusterExportRow(Table):
    """A folder that a run's members were exported to, where an erasure must look as well."""

    __tablename__ = "cluster_exports"

    export_id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    run_id: Mapped[int] = mapped_column(Number)
    folder: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(String(16))
    exported_at: Mapped[datetime] = mapped_column(Instant)


class ClusterCounterRow(Table):
    """The last cluster id given; outlives runs, so none is reused. One row, locked to add."""

    __tablename__ = "cluster_counter"

    counter_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    last_cluster_id: Mapped[int] = mapped_column(Number)


class ColdStartRow(Table):
    """What is borrowed for new users under a model version; identifies no user."""

    __tablename__ = "cold_starts"

    model_version: Mapped[str] = mapped_column(String(64), primary_key=True)
    num_users: Mapped[int] = mapped_column(Number)
    num_pairs: Mapped[int] = mapped_column(Number)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    # JSON, in the form of `storage.coldstart.first_questions`; empty for none.
    first_questions: Mapped[str] = mapped_column("onboarding", Text)
    created_at: Mapped[datetime] = mapped_column(Instant)


class TrainingRow(Table):
    """A checkpoint that was trained from this database, where an erased person may live on."""

    __tablename__ = "trainings"

    training_id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    folder: Mapped[str] = mapped_column(Text)
    model_version: Mapped[str] = mapped_column(String(64))
    trained_at: Mapped[datetime] = mapped_column(Instant)


class CompatibilityRow(Table):
    """The oldest code that this schema still serves. One row."""

    __tablename__ = "schema_compatibility"

    row_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    oldest_revision: Mapped[str] = mapped_column(String(32))
