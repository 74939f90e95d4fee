from django.apps import AppConfig

from config import logs


class ConfigConfig(AppConfig):
    """Brings the template tags of `config/templatetags`, the `serve` command and the checks of the database."""

    name = "config"

    def ready(self):
        from config import checks  # noqa: F401  (registers the start-up check)

        logs.quieten()
