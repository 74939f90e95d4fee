from django.urls import path
from rest_framework.routers import SimpleRouter

from subscriptions import views
from subscriptions.api import SubscriptionViewSet

router = SimpleRouter(use_regex_path=False)
router.register("subscriptions", SubscriptionViewSet, basename="api_subscription")

urlpatterns = [
    path("subscriptions/", views.subscriptions, name="subscriptions"),
    path("subscriptions/new/", views.subscription_create, name="subscription_create"),
    path("subscriptions/<uuid:pk>/", views.subscription, name="subscription"),
    path("subscriptions/<uuid:pk>/edit/", views.subscription_edit, name="subscription_edit"),
    path("subscriptions/<uuid:pk>/state/", views.subscription_state, name="subscription_state"),
    path("confirm/<str:token>", views.subscription_confirm, name="subscription_confirm"),
]
api_urlpatterns = list(router.urls)
