"""Pages of allauth that this site offers, under the names that allauth calls them by.

Signing up, changing addresses and resetting passwords by mail are not among them: a curator
renews the password of whoever forgot it.
"""

from __future__ import annotations

from allauth.account import views as account
from allauth.socialaccount import views as social
from django.urls import include, path

from apps.accounts import saml_views as saml
from apps.accounts import scim_views as scim
from apps.accounts import views

urlpatterns = [
    path("accounts/login/", views.sign_in, name="account_login"),
    path("accounts/logout/", views.sign_out, name="account_logout"),
    path("accounts/password/", views.change_password, name="account_change_password"),
    path("accounts/reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("accounts/inactive/", account.account_inactive, name="account_inactive"),
    # Before allauth's own, under its names: see views.of_own_passkey.
    path("accounts/2fa/webauthn/keys/<int:pk>/edit/", views.edit_passkey, name="mfa_edit_webauthn"),
    path(
        "accounts/2fa/webauthn/keys/<int:pk>/remove/",
        views.remove_passkey,
        name="mfa_remove_webauthn",
    ),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/sessions/", include("allauth.usersessions.urls")),
    path(
        "accounts/oidc/<str:provider_id>/login/", views.provider_login, name="openid_connect_login"
    ),
    path(
        "accounts/oidc/<str:provider_id>/login/callback/",
        views.provider_callback,
        name="openid_connect_callback",
    ),
    path("accounts/saml/<slug:tenant>/login/", saml.login, name="saml_login"),
    path("accounts/saml/<slug:tenant>/acs/", saml.acs, name="saml_acs"),
    path("accounts/saml/<slug:tenant>/finish/", saml.finish, name="saml_finish"),
    path("accounts/saml/<slug:tenant>/logout/", saml.logout, name="saml_logout"),
    path("accounts/saml/<slug:tenant>/metadata/", saml.metadata, name="saml_metadata"),
    path(
        "accounts/provider/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"
    ),
    path("accounts/provider/error/", social.login_error, name="socialaccount_login_error"),
    path("accounts/provider/", social.connections, name="socialaccount_connections"),
    path("scim/v2/Users", scim.users, name="scim_users"),
    path("scim/v2/Users/<uuid:code>", scim.user, name="scim_user"),
    path("scim/v2/Groups", scim.groups, name="scim_groups"),
    path("scim/v2/Groups/<uuid:code>", scim.group, name="scim_group"),
    path("scim/v2/ServiceProviderConfig", scim.service, name="scim_service"),
    path("scim/v2/Schemas", scim.schemas, name="scim_schemas"),
    path("scim/v2/Schemas/<str:name>", scim.schemas, name="scim_schema"),
    path("scim/v2/ResourceTypes", scim.kinds, name="scim_kinds"),
    path("scim/v2/ResourceTypes/<str:name>", scim.kinds, name="scim_kind"),
]
