"""Signatures get a sequence: what an index reads to learn of new and changed ones.

Revision: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_NUMBERED = """
    UPDATE signatures SET sequence = (
        SELECT count(*) FROM signatures AS earlier
        WHERE earlier.model_version = signatures.model_version
        AND earlier.user_id <= signatures.user_id
    )
"""
_COUNTED = """
    INSERT INTO signature_counters (model_version, last_sequence)
    SELECT model_version, count(*) FROM signatures GROUP BY model_version
"""


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "signature_counters",
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("last_sequence", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("model_version", name="pk_signature_counters"),
    )
    with op.batch_alter_table("signatures") as table:
        table.add_column(sa.Column("sequence", NUMBER, nullable=False, server_default="0"))
    op.execute(_NUMBERED)
    op.execute(_COUNTED)
    with op.batch_alter_table("signatures") as table:
        table.alter_column("sequence", existing_type=NUMBER, server_default=None)
    op.create_index(
        "ix_signatures_model_version_sequence",
        "signatures",
        ["model_version", "sequence"],
        unique=True,
    )


def downgrade() -> None:
    """Back to 0001."""
    op.drop_index("ix_signatures_model_version_sequence", "signatures")
    with op.batch_alter_table("signatures") as table:
        table.drop_column("sequence")
    op.drop_table("signature_counters")
