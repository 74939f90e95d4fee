from datetime import timedelta

import pytest
from django.utils import timezone

from sources.models import Source, SourceCredential
from sources.tasks import destroy_ended_secrets
from tenants.scope import system_scope, tenant_scope


@pytest.mark.spec("B1")
def test_a_secret_whose_overlap_ran_out_is_wiped_and_the_other_kept(cast):
    with tenant_scope(cast.tenant.pk):
        source, _ = Source.objects.create_with_secret(cast.tenant, cast.owner, "CI", "hmac", {})
        source.rotate_secret(timedelta(hours=1))
        source.credentials.filter(expires_at__isnull=False).update(expires_at=timezone.now())
    destroy_ended_secrets()
    with system_scope():
        ended = SourceCredential.objects.get(expires_at__isnull=False)
        current = SourceCredential.objects.get(expires_at__isnull=True)
        assert ended.value is None
        assert current.value
