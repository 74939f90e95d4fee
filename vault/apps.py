from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "vault"

    def ready(self):
        from vault import checks  # noqa: F401  (registers the start-up check)
