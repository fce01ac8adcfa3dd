"""The first schema: users, images, choices, signatures.

Revision: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(256).with_variant(sa.String(256, collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """To this revision."""
    _create_users_and_images()
    _create_choices()
    _create_passed_over()
    _create_signatures()


def _create_users_and_images() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("revision", NUMBER, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
    )
    op.create_table(
        "images",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("num_bytes", NUMBER, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_images"),
    )


def _create_choices() -> None:
    op.create_table(
        "choices",
        sa.Column("choice_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("revision", NUMBER, nullable=False),
        sa.Column("liked", sa.String(64), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("chosen_at", INSTANT, nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=True),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_choices_user_id"),
        sa.ForeignKeyConstraint(["liked"], ["images.sha256"], name="fk_choices_liked"),
        sa.PrimaryKeyConstraint("choice_id", name="pk_choices"),
        sa.UniqueConstraint("user_id", "revision", name="uq_choices_user_id_revision"),
        sa.UniqueConstraint("user_id", "request_id", name="uq_choices_user_id_request_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_choices_liked", "choices", ["liked"])


def _create_passed_over() -> None:
    op.create_table(
        "choice_passed_over",
        sa.Column("choice_id", NUMBER, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["choice_id"],
            ["choices.choice_id"],
            name="fk_choice_passed_over_choice_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["sha256"], ["images.sha256"], name="fk_choice_passed_over_sha256"),
        sa.PrimaryKeyConstraint("choice_id", "position", name="pk_choice_passed_over"),
    )
    op.create_index("ix_choice_passed_over_sha256", "choice_passed_over", ["sha256"])


def _create_signatures() -> None:
    op.create_table(
        "signatures",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("revision", NUMBER, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_signatures_user_id"),
        sa.PrimaryKeyConstraint("user_id", "model_version", name="pk_signatures"),
    )


def downgrade() -> None:
    """Back to an empty database."""
    for table in ("signatures", "choice_passed_over", "choices", "images", "users"):
        op.drop_table(table)
