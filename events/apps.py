from django.apps import AppConfig
from django.db.models.signals import post_migrate


class EventsConfig(AppConfig):
    name = "events"

    def ready(self):
        post_migrate.connect(_make_partitions, sender=self)


def _make_partitions(plan=(), **kwargs):
    """A database that was just migrated can take events at once."""
    from events.partitions import ensure_partitions

    ensure_partitions()
