"""The probes stand in front of everything else."""

from config import views

PROBES = {"/healthz": views.healthz, "/readyz": views.readyz}


class ProbesFirst:
    """Answers the probes before any other middleware looks at the request.

    A load balancer asks by IP address and over plain HTTP, so neither the Host header nor the redirect to HTTPS may
    stand in its way; and no session is looked up, since a probe has to answer while the database does not.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        probe = PROBES.get(request.path_info)
        return probe(request) if probe else self.get_response(request)
