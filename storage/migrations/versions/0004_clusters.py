"""Clusters of users: runs, clusters, members, and the images that set clusters apart.

Revision: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.String(256).with_variant(sa.String(256, collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """To this revision."""
    _create_runs()
    _create_clusters()
    _create_members()
    _create_images()
    op.create_table(
        "cluster_counter",
        sa.Column("counter_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_cluster_id", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("counter_id", name="pk_cluster_counter"),
    )


def _create_runs() -> None:
    op.create_table(
        "cluster_runs",
        sa.Column("run_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(128), nullable=True),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("num_users", NUMBER, nullable=False),
        sa.Column("num_clusters", sa.Integer(), nullable=False),
        sa.Column("num_unclustered", NUMBER, nullable=False),
        sa.Column("begun_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("run_id", name="pk_cluster_runs"),
        sa.UniqueConstraint("name", name="uq_cluster_runs_name"),
        sqlite_autoincrement=True,
    )


def _create_clusters() -> None:
    op.create_table(
        "clusters",
        sa.Column("run_id", NUMBER, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("cluster_id", NUMBER, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("cohesion", sa.Double(), nullable=False),
        sa.Column("centroid", sa.LargeBinary(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("distance", sa.Double(), nullable=True),
        sa.Column("num_joined", NUMBER, nullable=True),
        sa.Column("num_left", NUMBER, nullable=True),
        _of_run("clusters"),
        sa.PrimaryKeyConstraint("run_id", "place", name="pk_clusters"),
        sa.UniqueConstraint("run_id", "cluster_id", name="uq_clusters_run_id_cluster_id"),
    )


def _create_members() -> None:
    op.create_table(
        "cluster_members",
        sa.Column("run_id", NUMBER, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("similarity", sa.Double(), nullable=False),
        _of_run("cluster_members"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_cluster_members_user_id"),
        sa.PrimaryKeyConstraint("run_id", "user_id", name="pk_cluster_members"),
    )
    op.create_index(
        "ix_cluster_members_run_id_place_similarity",
        "cluster_members",
        ["run_id", "place", "similarity"],
    )
    op.create_index("ix_cluster_members_user_id", "cluster_members", ["user_id"])


def _create_images() -> None:
    op.create_table(
        "cluster_images",
        sa.Column("run_id", NUMBER, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("num_likes", NUMBER, nullable=False),
        sa.Column("num_passes", NUMBER, nullable=False),
        sa.Column("overall_rate", sa.Double(), nullable=False),
        sa.Column("z", sa.Double(), nullable=False),
        _of_run("cluster_images"),
        sa.ForeignKeyConstraint(["sha256"], ["images.sha256"], name="fk_cluster_images_sha256"),
        sa.PrimaryKeyConstraint("run_id", "place", "sha256", name="pk_cluster_images"),
    )
    op.create_index("ix_cluster_images_sha256", "cluster_images", ["sha256"])


def _of_run(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_run_id"
    return sa.ForeignKeyConstraint(
        ["run_id"], ["cluster_runs.run_id"], name=name, ondelete="CASCADE"
    )


def downgrade() -> None:
    """Back to 0003."""
    for table in (
        "cluster_counter",
        "cluster_images",
        "cluster_members",
        "clusters",
        "cluster_runs",
    ):
        op.drop_table(table)
