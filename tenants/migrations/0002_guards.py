"""Row-level security, and an audit log that the database itself keeps append-only."""

from django.db import migrations

from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    replaces = [("tenants", "0002_row_security")]
    dependencies = [("tenants", "0001_tables")]
    operations = [
        enable_row_security("tenants_tenant", column="id"),
        enable_row_security("tenants_site"),
        enable_row_security("tenants_membership"),
        enable_row_security("tenants_invitation"),
        enable_row_security("tenants_apikey"),
        enable_row_security("tenants_auditentry"),
        migrations.RunSQL(
            """
            CREATE FUNCTION tenants_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'The audit log is append-only.' USING ERRCODE = 'insufficient_privilege';
            END $$;
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON tenants_auditentry
                FOR EACH ROW EXECUTE FUNCTION tenants_refuse_change();
            CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON tenants_auditentry
                FOR EACH STATEMENT EXECUTE FUNCTION tenants_refuse_change();
            """,
            "DROP TRIGGER append_only ON tenants_auditentry; DROP TRIGGER append_only_whole ON tenants_auditentry;"
            " DROP FUNCTION tenants_refuse_change();",
        ),
    ]
