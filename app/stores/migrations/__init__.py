"""What alembic runs; `migrate.upgrade` is the way in."""
