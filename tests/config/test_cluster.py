"""The test cluster itself: up before settings, one for all workers, an unprivileged role."""

from django.conf import settings
from django.db import connection


def test_the_role_is_bound_by_row_level_security(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False, False)


def test_settings_saw_the_test_cluster_and_not_the_data_of_this_checkout():
    assert settings.EMBEDDED is None
    assert not settings.VAR.is_relative_to(settings.BASE_DIR)
