"""Row-level security; and whatever changes what the door knows of a source tells the processes that keep copies.

The notice (`sources.registry`) is sent with the commit, whoever made the change. Notes of use (`last_received_at`,
`last_used_at`) are written all the time and change nothing the door goes by, so they tell nobody.
"""

from django.db import migrations

from tenants.scope import enable_row_security

CHANNEL = "portcullis_sources"
NOT_TOLD = {"sources_source": ["last_received_at"], "sources_sourcecredential": ["last_used_at"]}
NAMES = {
    "sources_source": "'source:' || COALESCE(NEW.id, OLD.id)",
    "sources_sourcecredential": "'source:' || COALESCE(NEW.source_id, OLD.source_id)",
    "tenants_site": "'tenant:' || COALESCE(NEW.tenant_id, OLD.tenant_id)",
    "tenants_tenant": "'tenant:' || COALESCE(NEW.id, OLD.id)",
}


def tell(table: str, name: str) -> migrations.RunSQL:
    without = "".join(f" - '{column}'" for column in NOT_TOLD.get(table, []))
    return migrations.RunSQL(
        f"""
        CREATE FUNCTION {table}_tell() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'UPDATE' OR (to_jsonb(NEW){without}) <> (to_jsonb(OLD){without}) THEN
                PERFORM pg_notify('{CHANNEL}', {name});
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER tell_registries AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {table}_tell();
        """,
        f"""
        DROP TRIGGER tell_registries ON {table};
        DROP FUNCTION {table}_tell();
        """,
    )


class Migration(migrations.Migration):
    replaces = [
        ("sources", "0002_row_security"),
        ("sources", "0005_tell_registries"),
    ]
    dependencies = [("sources", "0001_tables"), ("tenants", "0002_guards")]
    operations = [
        enable_row_security("sources_source"),
        enable_row_security("sources_sourcecredential"),
        *(tell(table, name) for table, name in NAMES.items()),
    ]
