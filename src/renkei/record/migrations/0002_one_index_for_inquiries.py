"""One index for inquiries: an inquiry's own row says that it has a leaf."""

from alembic import op

revision = "record_0002"
down_revision = "record_0001"
branch_labels = None


def upgrade() -> None:
    op.execute("DELETE FROM record_envelopes WHERE id IN (SELECT id FROM record_inquiries)")
