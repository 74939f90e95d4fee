from django.urls import path
from rest_framework.routers import SimpleRouter

from deliveries import api, views

router = SimpleRouter(use_regex_path=False)
router.register("deliveries", api.DeliveryViewSet, basename="api_delivery")
router.register("attempts", api.AttemptViewSet, basename="api_attempt")
api_urlpatterns = router.urls

urlpatterns = [
    path("deliveries/", views.deliveries, name="deliveries"),
    path("deliveries/of-notice/<uuid:notice>/", views.delivery_of_notice, name="delivery_of_notice"),
    path("deliveries/<uuid:pk>/", views.delivery, name="delivery"),
]
