"""What people and images are owed: tombstones, takedowns, rights, names; and old code goes on.

All of it is added. Code that expects 0005 heeds no tombstone and no block, so it is not served.

Revision: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)

TABLES = (
    *("tombstones", "blocked_images", "cluster_names", "cluster_exports", "trainings"),
    "schema_compatibility",
)
COLUMNS = {
    "users": ("personalize", "learn_from"),
    "images": ("shareable",),
    "choices": ("dataset",),
    "cluster_images": ("num_users", "q"),
}


def upgrade() -> None:
    """To this revision."""
    _add_columns()
    _add_people_and_images()
    _add_clusters_and_trainings()
    compatibility = op.create_table(
        "schema_compatibility",
        sa.Column("row_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oldest_revision", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("row_id", name="pk_schema_compatibility"),
    )
    op.bulk_insert(compatibility, [{"row_id": 1, "oldest_revision": "0006"}])


def _add_columns() -> None:
    for name in COLUMNS["users"]:
        op.add_column(
            "users", sa.Column(name, sa.Boolean(), server_default=sa.true(), nullable=False)
        )
    op.add_column(
        "images", sa.Column("shareable", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("choices", sa.Column("dataset", sa.Text(), nullable=True))
    op.add_column("cluster_images", sa.Column("num_users", NUMBER, nullable=True))
    op.add_column("cluster_images", sa.Column("q", sa.Double(), nullable=True))


def _add_people_and_images() -> None:
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("erased_at", INSTANT, nullable=False),
        sa.Column("erased_by", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_tombstones"),
    )
    op.create_index("ix_tombstones_key_id", "tombstones", ["key_id"])
    op.create_table(
        "blocked_images",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("blocked_at", INSTANT, nullable=False),
        sa.Column("blocked_by", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_blocked_images"),
    )


def _add_clusters_and_trainings() -> None:
    op.create_table(
        "cluster_names",
        sa.Column("cluster_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("named_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_cluster_names"),
    )
    op.create_table(
        "cluster_exports",
        sa.Column("export_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", NUMBER, nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("exported_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("export_id", name="pk_cluster_exports"),
    )
    op.create_table(
        "trainings",
        sa.Column("training_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("trained_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("training_id", name="pk_trainings"),
    )


def downgrade() -> None:
    """Back to 0005."""
    for table in TABLES:
        op.drop_table(table)
    for table, columns in COLUMNS.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_column(column)
