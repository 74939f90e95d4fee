from django.apps import AppConfig

from config import logs


class ConfigConfig(AppConfig):
    """Brings the template tags of `config/templatetags` and the `serve` command."""

    name = "config"

    def ready(self):
        logs.quieten()
