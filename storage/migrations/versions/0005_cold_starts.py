"""What is borrowed for new users: one file of numbers for each model version.

Revision: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "cold_starts",
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("num_users", NUMBER, nullable=False),
        sa.Column("num_pairs", NUMBER, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("onboarding", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model_version", name="pk_cold_starts"),
    )


def downgrade() -> None:
    """Back to 0004."""
    op.drop_table("cold_starts")
