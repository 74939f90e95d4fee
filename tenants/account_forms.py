"""allauth's forms in the portal's words (`ACCOUNT_FORMS`). Apart from `accounts.py`, which allauth's forms import."""

from allauth.account import forms as allauth


class Plain:
    """The cursor in the first field; no placeholder that says the label again; labels in sentence case."""

    labels: dict[str, str] = {}  # noqa: RUF012 - a constant of the class

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)
            field.widget.attrs.pop("autofocus", None)
        for name, label in self.labels.items():
            self.fields[name].label = label
        next(iter(self.fields.values())).widget.attrs["autofocus"] = True


class SignInForm(Plain, allauth.LoginForm):
    labels = {"remember": "Stay signed in"}  # noqa: RUF012


class ChangePasswordForm(Plain, allauth.ChangePasswordForm):
    labels = {  # noqa: RUF012
        "oldpassword": "Current password",
        "password1": "New password",
        "password2": "New password, again",
    }


class ResetPasswordForm(Plain, allauth.ResetPasswordForm):
    pass


class ResetPasswordKeyForm(Plain, allauth.ResetPasswordKeyForm):
    labels = {"password1": "New password", "password2": "New password, again"}  # noqa: RUF012


class ReauthenticateForm(Plain, allauth.ReauthenticateForm):
    pass


class AddEmailForm(Plain, allauth.AddEmailForm):
    labels = {"email": "New address"}  # noqa: RUF012
