"""Two levels of keys: what is sealed opens for its tenant alone, and both levels rotate."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.management import CommandError, call_command
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.tenants.models import DataKey, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError, InternalError
from counterpoint import checks, keys
from counterpoint.sitekeys import FileKeys, SiteKeys, VaultKeys
from tests.cast import Cast

ABOUT = "webhook.secret"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    keys.forget()
    yield
    keys.forget()
    keys.site_keys.cache_clear()


def site_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plain=st.binary(max_size=300), about=st.text(max_size=20))
def test_what_is_sealed_opens_as_it_was(cast: Cast, plain: bytes, about: str) -> None:
    with tenant_scope(cast.north):
        sealed = keys.seal(plain, about=about)
        assert keys.unseal(sealed, about=about) == plain
        assert len(plain) < 8 or plain not in sealed
        assert keys.seal(plain, about=about) != sealed  # another nonce each time


def test_a_changed_bit_a_moved_value_and_another_tenant_open_nothing(cast: Cast) -> None:
    with tenant_scope(cast.north):
        sealed = keys.seal(b"a secret", about=ABOUT)
        for place in range(len(sealed)):
            changed = bytearray(sealed)
            changed[place] ^= 1
            with pytest.raises(InternalError, match=r"key\.(sealed|gone)"):
                keys.unseal(bytes(changed), about=ABOUT)
        with pytest.raises(InternalError, match=r"key\.sealed"):
            keys.unseal(sealed, about="another.column")
    with tenant_scope(cast.south), pytest.raises(InternalError, match=r"key\.sealed"):
        keys.unseal(sealed, about=ABOUT)


@pytest.mark.parametrize("rubbish", [b"", b"cpk1", b"plain words that nobody sealed"])
def test_rubbish_is_refused_in_words(cast: Cast, rubbish: bytes) -> None:
    with tenant_scope(cast.north), pytest.raises(InternalError, match=r"key\.sealed"):
        keys.unseal(rubbish, about=ABOUT)


def test_a_key_outside_a_tenant_is_refused(db: None) -> None:
    with pytest.raises(InternalError, match=r"key\.no_tenant"):
        keys.newest()


def test_a_tenant_is_opened_with_a_key_that_the_database_holds_only_wrapped(cast: Cast) -> None:
    with tenant_scope(cast.north):
        row = DataKey.objects.get()
        key = keys.newest()
    assert (row.version, row.wrapped_by) == (1, keys.site_keys().key_id())
    assert key.secret not in bytes(row.wrapped)
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret) not in repr(key)


def test_keys_of_objects_differ_and_are_the_same_again(cast: Cast) -> None:
    with tenant_scope(cast.north):
        north = keys.newest()
    with tenant_scope(cast.south):
        south = keys.newest()
    made = [north.for_object("a"), north.for_object("b"), south.for_object("a")]
    assert len(set(made)) == 3
    assert north.for_object("a") == made[0]


def test_rotating_the_data_key_goes_on_reading_what_was(cast: Cast) -> None:
    with tenant_scope(cast.north):
        old = keys.seal(b"before", about=ABOUT)
        assert keys.rotate_data_key() == 2
        keys.forget()
        new = keys.seal(b"after", about=ABOUT)
        assert keys.newest().version == 2
        assert keys.unseal(old, about=ABOUT) == b"before"
        assert keys.unseal(new, about=ABOUT) == b"after"


def test_rotating_the_site_key_rewraps_and_data_stays(
    cast: Cast, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = settings.SITE_KEY, site_key()
    with tenant_scope(cast.north):
        sealed = keys.seal(b"kept", about=ABOUT)
    use(settings, f"{second}\n{first}")
    call_command("keys", "rewrap")
    use(settings, second)  # the old one is gone from the site
    with tenant_scope(cast.north):
        assert keys.unseal(sealed, about=ABOUT) == b"kept"
        assert keys.rewrap() == 0
        assert {row.wrapped_by for row in DataKey.objects.all()} == {keys.site_keys().key_id()}
    use(settings, first)
    with tenant_scope(cast.north), pytest.raises(InternalError, match=r"key\.site_missing"):
        keys.unseal(sealed, about=ABOUT)


def use(settings: Any, text: str) -> None:
    settings.SITE_KEY = text
    keys.site_keys.cache_clear()
    keys.forget()


def test_a_wrapped_key_in_another_tenants_place_does_not_open(cast: Cast) -> None:
    with tenant_scope(cast.north):
        wrapped = DataKey.objects.get().wrapped
    with tenant_scope(cast.south):
        DataKey.objects.update(wrapped=wrapped)
        with pytest.raises(InternalError, match=r"key\.wrapped"):
            keys.newest()


def test_a_shredded_tenant_is_unreadable_and_its_neighbour_is_not(cast: Cast) -> None:
    with tenant_scope(cast.south):
        kept = keys.seal(b"kept", about=ABOUT)
    with tenant_scope(cast.north):
        sealed = keys.seal(b"gone", about=ABOUT)
        assert keys.shred() == 1
        with pytest.raises(InternalError, match=r"key\.gone"):
            keys.unseal(sealed, about=ABOUT)
    with tenant_scope(cast.south):
        assert keys.unseal(kept, about=ABOUT) == b"kept"


@pytest.mark.django_db(transaction=True)
def test_a_first_key_outlives_the_transaction_that_needed_it() -> None:
    tenant = Tenant.objects.create(name="Old", slug="old")  # opened before there were keys
    with tenant_scope(tenant):
        sealed = keys.seal(b"a file that was written", about=ABOUT)
        transaction.set_rollback(True)
    keys.forget()
    with tenant_scope(tenant):
        assert keys.unseal(sealed, about=ABOUT) == b"a file that was written"


@pytest.mark.django_db(transaction=True)
def test_two_who_need_a_first_key_at_once_agree_on_one() -> None:
    tenant = Tenant.objects.create(name="Old", slug="old")
    found: list[int] = []

    def ask() -> None:
        with tenant_scope(tenant):
            found.append(keys.newest().version)
        keys.connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tenant_scope(tenant):
        assert found == [1] * 4
        assert DataKey.objects.count() == 1


@pytest.mark.parametrize("text", ["", "short", "not base64 at all!", "A" * 44])
def test_what_is_no_site_key_stops_the_start(text: str, settings: Any) -> None:
    settings.SITE_KEY = text
    assert [each.id for each in checks.site_key_is_given()] == ["counterpoint.E005"]


def test_the_command_shows_rotates_and_knows_no_stranger(cast: Cast) -> None:
    out = StringIO()
    call_command("keys", "rotate", "--tenant", "north", stdout=out)
    call_command("keys", "show", stdout=out)
    said = out.getvalue()
    assert "north: data key 2 writes from now on" in said
    assert f"south: 1 under {keys.site_keys().key_id()}" in said
    with pytest.raises(CommandError, match="no tenant"):
        call_command("keys", "show", "--tenant", "nowhere")


# ---- Vault ---------------------------------------------------------------------------------------


class Transit(BaseHTTPRequestHandler):
    """The transit engine's contract: versions, associated data, tokens."""

    secrets_by_version = {1: secrets.token_bytes(32)}
    token = "the right token"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.answer({"latest_version": max(self.secrets_by_version)})

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        bound = base64.b64decode(told["associated_data"])
        if "/encrypt/" in self.path:
            version, nonce = max(self.secrets_by_version), secrets.token_bytes(12)
            sealed = AESGCM(self.secrets_by_version[version]).encrypt(
                nonce, base64.b64decode(told["plaintext"]), bound
            )
            text = base64.b64encode(nonce + sealed).decode()
            return self.answer({"ciphertext": f"vault:v{version}:{text}"})
        _, version_text, text = told["ciphertext"].split(":")
        raw = base64.b64decode(text)
        try:
            key = AESGCM(self.secrets_by_version[int(version_text[1:])])
            plain = key.decrypt(raw[:12], raw[12:], bound)
        except InvalidTag:
            return self.answer({}, status=400)
        return self.answer({"plaintext": base64.b64encode(plain).decode()})

    def answer(self, data: dict[str, object], *, status: int = 200) -> None:
        if self.headers["X-Vault-Token"] != self.token:
            status = 403
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"data": data}).encode())


@pytest.fixture
def vault() -> Iterator[VaultKeys]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Transit)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    found = VaultKeys(f"http://127.0.0.1:{server.server_port}", Transit.token, "counterpoint")
    yield found
    found.client.close()
    server.shutdown()
    server.server_close()


def both(vault: VaultKeys) -> list[SiteKeys]:
    return [FileKeys(site_key()), vault]


def test_both_adapters_keep_one_contract(vault: VaultKeys) -> None:
    for site in both(vault):
        secret, about = secrets.token_bytes(32), f"data-key|{uuid4()}|1".encode()
        key_id, wrapped = site.wrap(secret, about)
        assert key_id == site.key_id()
        assert secret not in wrapped
        assert site.unwrap(key_id, wrapped, about) == secret
        with pytest.raises(InternalError, match=r"key\.wrapped"):
            site.unwrap(key_id, wrapped, b"another place")
        with pytest.raises(InternalError, match=r"key\.site_missing"):
            site.unwrap("file:000000000000", wrapped, about)


def test_vaults_own_rotation_is_seen_and_older_versions_open(vault: VaultKeys) -> None:
    key_id, wrapped = vault.wrap(b"k" * 32, b"about")
    Transit.secrets_by_version[2] = secrets.token_bytes(32)
    assert vault.key_id() != key_id
    assert vault.unwrap(key_id, wrapped, b"about") == b"k" * 32
    del Transit.secrets_by_version[2]


def test_a_refusing_and_an_absent_vault_are_told_in_words(vault: VaultKeys) -> None:
    wrong = VaultKeys(str(vault.client.base_url).removesuffix("/v1/transit/"), "no", "counterpoint")
    with pytest.raises(InternalError, match="status 403"):
        wrong.wrap(b"k" * 32, b"about")
    absent = VaultKeys("http://127.0.0.1:1", "token", "counterpoint")
    with pytest.raises(InternalError, match="does not answer"):
        absent.key_id()


def test_vault_without_an_address_stops_the_start(settings: Any) -> None:
    settings.SITE_KEYS, settings.VAULT_ADDR, settings.VAULT_TOKEN = "vault", "", ""
    (found,) = checks.site_key_is_given()
    assert "VAULT_ADDR and VAULT_TOKEN" in found.msg
    with pytest.raises(InputError, match="32 bytes"):
        FileKeys("")
