"""The ledger of `recsys backfill`: how each user's last try under a model version ended.

Revision: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(256).with_variant(sa.String(256, collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "backfill_ledger",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("revision", NUMBER, nullable=False),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_backfill_ledger_user_id"),
        sa.PrimaryKeyConstraint("user_id", "model_version", name="pk_backfill_ledger"),
    )
    op.create_index(
        "ix_backfill_ledger_model_version_state_user_id",
        "backfill_ledger",
        ["model_version", "state", "user_id"],
    )


def downgrade() -> None:
    """Back to 0002."""
    op.drop_table("backfill_ledger")
