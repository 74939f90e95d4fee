"""Row-level security; published versions stay as they are; and the processes that classify are told of changes."""

from django.db import migrations

from events.partitions import keep_small
from tenants.scope import enable_row_security

CHANNEL = "portcullis_sources"  # sources/migrations/0002_guards.py

TELL = f"""
    CREATE FUNCTION events_schemaattachment_tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'DELETE' THEN
            PERFORM pg_notify('{CHANNEL}', 'source:' || NEW.source_id);
        END IF;
        IF TG_OP <> 'INSERT' THEN
            PERFORM pg_notify('{CHANNEL}', 'source:' || OLD.source_id);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER tell_registries AFTER INSERT OR UPDATE OR DELETE ON events_schemaattachment
        FOR EACH ROW EXECUTE FUNCTION events_schemaattachment_tell();

    CREATE FUNCTION events_schemaversion_tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('{CHANNEL}', 'source:' || source_id)
            FROM events_schemaattachment WHERE schema_id = NEW.schema_id;
        RETURN NULL;
    END $$;
    CREATE TRIGGER tell_registries AFTER INSERT OR UPDATE ON events_schemaversion
        FOR EACH ROW WHEN (NEW.status = 'published') EXECUTE FUNCTION events_schemaversion_tell();
"""
TELL_NO_MORE = """
    DROP TRIGGER tell_registries ON events_schemaattachment;
    DROP FUNCTION events_schemaattachment_tell();
    DROP TRIGGER tell_registries ON events_schemaversion;
    DROP FUNCTION events_schemaversion_tell();
"""

STAY = """
    CREATE FUNCTION events_schemaversion_stays() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (to_jsonb(NEW) - 'created_by_id' - 'published_by_id')
                <> (to_jsonb(OLD) - 'created_by_id' - 'published_by_id') THEN
            RAISE EXCEPTION 'A published schema version does not change.' USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER published_stays BEFORE UPDATE ON events_schemaversion
        FOR EACH ROW WHEN (OLD.status = 'published') EXECUTE FUNCTION events_schemaversion_stays();
"""
STAY_NO_MORE = """
    DROP TRIGGER published_stays ON events_schemaversion;
    DROP FUNCTION events_schemaversion_stays();
"""


class Migration(migrations.Migration):
    replaces = [
        ("events", "0002_row_security"),
        ("events", "0005_once_key_row_security"),
        ("events", "0007_schemas_row_security"),
        ("events", "0009_alarms_row_security"),
        ("events", "0013_bundles_row_security"),
    ]
    dependencies = [("events", "0001_tables"), ("tenants", "0002_guards")]
    operations = [
        enable_row_security("events_receipt"),
        enable_row_security("events_event"),
        enable_row_security("events_inbox"),
        enable_row_security("events_oncekey"),
        enable_row_security("events_schema"),
        enable_row_security("events_schemaversion"),
        enable_row_security("events_schemaattachment"),
        enable_row_security("events_alarm"),
        enable_row_security("events_alarmepisode"),
        enable_row_security("events_alarmmail"),
        enable_row_security("events_bundle"),
        keep_small("events_inbox"),
        keep_small("events_bundle"),
        migrations.RunSQL(TELL, TELL_NO_MORE),
        migrations.RunSQL(STAY, STAY_NO_MORE),
    ]
