from django.urls import path
from rest_framework.routers import SimpleRouter

from deliveries import api, figures_views, pull_views, pulse_views, replay_views, views
from deliveries.pull_api import PollViewSet
from deliveries.replay_api import ReplayViewSet

router = SimpleRouter(use_regex_path=False)
router.register("deliveries", api.DeliveryViewSet, basename="api_delivery")
router.register("attempts", api.AttemptViewSet, basename="api_attempt")
router.register("replays", ReplayViewSet, basename="api_replay")
router.register("subscriptions", PollViewSet, basename="api_poll")
api_urlpatterns = [
    path(
        "subscriptions/<uuid:pk>/figures/",
        figures_views.SubscriptionFiguresViewSet.as_view(
            {"get": "retrieve"}, basename="api-subscription-figures", detail=True
        ),
        name="api-subscription-figures",
    ),
    path(
        "operators/pulse/",
        pulse_views.OperatorPulseViewSet.as_view({"get": "retrieve"}),
        name="api-operators-pulse",
    ),
    *router.urls,
]

urlpatterns = [
    path("operators/pulse/", pulse_views.operators_pulse, name="operators_pulse"),
    path("deliveries/", views.deliveries, name="deliveries"),
    path("deliveries/new/", views.deliveries_new, name="deliveries_new"),
    path("deliveries/of-notice/<uuid:notice>/", views.delivery_of_notice, name="delivery_of_notice"),
    path("deliveries/figures/<uuid:subscription>/", figures_views.subscription_figures, name="subscription_figures"),
    path("deliveries/<uuid:pk>/", views.delivery, name="delivery"),
    path("subscriptions/<uuid:subscription>/pull/", pull_views.pull_of, name="pull_of_subscription"),
    path("replays/new/", replay_views.replay_new, name="replay_new"),
    path("replays/of-subscription/<uuid:subscription>/", replay_views.replays_of, name="replays_of_subscription"),
    path("replays/cancel/", replay_views.cancel_new, name="cancel_new"),
    path("replays/<uuid:pk>/", replay_views.replay, name="replay"),
]
