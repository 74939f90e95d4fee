"""What every page may ask of the request's tenant."""


def tenancy(request) -> dict:
    """`tenant`, `role`, `memberships`, and `can.configure` and the like for each permission held."""
    actor = getattr(request, "actor", None)
    return {
        "actor": actor,
        "tenant": actor.tenant if actor else None,
        "role": actor.role if actor else None,
        "memberships": getattr(request, "memberships", []),
        "can": {str(permission): True for permission in actor.permissions} if actor else {},
    }
