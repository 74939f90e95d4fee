"""How people get in, told to django-allauth."""

from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from django import forms
from django.conf import settings
from django.contrib.auth import password_validation

from tenants.addresses import client_address
from tenants.models import User


def _at_home(url: str) -> str:
    """The same path at the portal's own address: `Host` is whatever the one who asks for the mail wrote into it."""
    return settings.PORTAL_URL + urlsplit(url).path


class AccountAdapter(DefaultAccountAdapter):
    """Nobody signs up on their own: operators and invitations make accounts."""

    def is_open_for_signup(self, request) -> bool:
        return False

    def set_password(self, user: User, password: str) -> None:
        """Changed or reset, it is the person's own now."""
        user.must_change_password = False
        super().set_password(user, password)

    def clean_password(self, password: str, user: User | None = None) -> str:
        """Whoever handed a one-time password out knows it, so it cannot be chosen again."""
        if user is not None and user.must_change_password and user.check_password(password):
            raise forms.ValidationError("This is the one-time password. Choose another one.")
        return super().clean_password(password, user)

    def get_reset_password_from_key_url(self, key: str) -> str:
        return _at_home(super().get_reset_password_from_key_url(key))

    def get_email_confirmation_url(self, request, emailconfirmation) -> str:
        return _at_home(super().get_email_confirmation_url(request, emailconfirmation))

    def get_password_change_redirect_url(self, request) -> str:
        return "/"

    def get_client_ip(self, request) -> str:
        """What the rate limits count by. Where it cannot be known (a socket file) all share one count."""
        return client_address(request) or "unknown"


class JoinForm(forms.Form):
    """A new person who follows an invitation: a name and a password; the address is the invitation's."""

    name = forms.CharField(label="Your name", max_length=100, widget=forms.TextInput({"autocomplete": "name"}))
    password = forms.CharField(
        label="Password", strip=False, widget=forms.PasswordInput({"autocomplete": "new-password"})
    )

    def __init__(self, *args, email: str, **kwargs):
        super().__init__(*args, **kwargs)
        self.email = email

    def clean(self):
        password = self.cleaned_data.get("password")
        if password:
            user = User(email=self.email, name=self.cleaned_data.get("name", ""))
            try:
                password_validation.validate_password(password, user)
            except forms.ValidationError as error:
                self.add_error("password", error)
        return self.cleaned_data
