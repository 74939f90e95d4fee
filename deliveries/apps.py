from django.apps import AppConfig


class DeliveriesConfig(AppConfig):
    name = "deliveries"

    def ready(self) -> None:
        from deliveries import missed
        from subscriptions.signals import disabled

        disabled.connect(missed.note, dispatch_uid="deliveries.missed")
