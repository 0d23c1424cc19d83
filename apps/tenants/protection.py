"""Migration operations that seal a table: per tenant, references within it, append-only.

Plain SQL, run by the owner of the tables; the runtime role `app_rw` owns nothing and bypasses
nothing. Table and column names come from our own migrations, never from input.
"""

from __future__ import annotations

import re

from django.db.migrations.operations import RunSQL

# Tables without row-level security, each with its reason; the catalogue test knows no others.
RLS_EXEMPT: dict[str, str] = {
    "tenants_tenant": "the list of tenants itself: a name and settings, read to find one's own",
    "tenants_membership": "read by the signed-in person's id before a tenant is known",
    "accounts_user": "a person may belong to several tenants; looked up at sign-in",
    "accounts_apikey": "looked up by prefix before a tenant is known; holds a digest, no secret",
    "account_emailaddress": "addresses that a provider verified, before a tenant is known",
    "account_emailconfirmation": "unused part of allauth: no mail is sent",
    "mfa_authenticator": "a person's second factors, sealed under the site key; asked at sign-in",
    "socialaccount_socialaccount": "who a person is at the provider; looked up at sign-in",
    "socialaccount_socialapp": "unused part of allauth: providers stand in the settings",
    "socialaccount_socialtoken": "unused part of allauth: tokens are not kept",
    "usersessions_usersession": "a person's sessions, for themselves to see and end",
    "auth_group": "unused part of the framework: stays empty",
    "auth_group_permissions": "unused part of the framework: stays empty",
    "auth_permission": "names of the framework's permissions, no tenant's data",
    "django_content_type": "names of models, no tenant's data",
    "django_session": "looked up by an unguessable key before a person is known",
    "axes_accessattempt": "failed sign-ins, before a person is known",
    "axes_accessattemptexpiration": "failed sign-ins, before a person is known",
    "axes_accessfailurelog": "failed sign-ins, before a person is known",
    "runs_slot": "machines and their accelerators: no tenant's data, told by the workers",
    "axes_accesslog": "sign-ins, before a tenant is known",
}

MINE = "tenant_id = nullif(current_setting('app.tenant', true), '')::uuid"
NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


def checked(name: str) -> str:
    """The name, if it needs no quoting. Raises ValueError otherwise."""
    if not NAME.match(name):
        raise ValueError(f"{name!r} is no table or column name of ours")
    return name


class Protect(RunSQL):
    """Force row-level security on these tables, and let others refer to (tenant_id, id).

    Two policies: the permissive one opens the table to `app_rw`, the restrictive one bounds every
    row to the tenant of the transaction; an unset tenant means no row. The owner sees nothing.
    """

    def __init__(self, *tables: str) -> None:
        names = [checked(table) for table in tables]
        super().__init__([protect(t) for t in names], [unprotect(t) for t in reversed(names)])
        self.tables = tables

    def deconstruct(self) -> tuple[str, tuple[str, ...], dict[str, object]]:
        return self.__class__.__qualname__, self.tables, {}

    def describe(self) -> str:
        return f"Seal {', '.join(self.tables)} per tenant"


def protect(t: str) -> str:
    return f"""
        ALTER TABLE {t} ADD CONSTRAINT {t[:50]}_in_tenant UNIQUE (tenant_id, id);
        ALTER TABLE {t} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {t} FORCE ROW LEVEL SECURITY;
        CREATE POLICY t_allow ON {t} FOR ALL TO app_rw USING (true) WITH CHECK (true);
        CREATE POLICY t_tenant ON {t} AS RESTRICTIVE FOR ALL TO app_rw
            USING ({MINE}) WITH CHECK ({MINE});
        GRANT SELECT, INSERT, UPDATE, DELETE ON {t} TO app_rw;
    """


def unprotect(t: str) -> str:
    return f"""
        DROP POLICY t_tenant ON {t};
        DROP POLICY t_allow ON {t};
        ALTER TABLE {t} NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE {t} DISABLE ROW LEVEL SECURITY;
        ALTER TABLE {t} DROP CONSTRAINT {t[:50]}_in_tenant;
    """


class SameTenant(RunSQL):
    """A foreign key over (tenant_id, column): a row may point only at rows of its own tenant.

    Checks of foreign keys bypass row-level security, so Django's own single-column key would let a
    stranger's id through. Deferred like Django's. The target table is under `Protect`.
    """

    def __init__(self, table: str, column: str, target: str) -> None:
        t, c, to = checked(table), checked(column), checked(target)
        name = f"{t}_{c}_same"[:63]
        super().__init__(
            f"ALTER TABLE {t} ADD CONSTRAINT {name} FOREIGN KEY (tenant_id, {c}) "
            f"REFERENCES {to} (tenant_id, id) DEFERRABLE INITIALLY DEFERRED",
            f"ALTER TABLE {t} DROP CONSTRAINT {name}",
        )
        self.names = (table, column, target)

    def deconstruct(self) -> tuple[str, tuple[str, ...], dict[str, object]]:
        return self.__class__.__qualname__, self.names, {}

    def describe(self) -> str:
        table, column, target = self.names
        return f"Keep {table}.{column} within the tenant of {target}"


class AppendOnly(RunSQL):
    """Rows are written once: a trigger refuses UPDATE, DELETE and TRUNCATE, the owner's too."""

    def __init__(self, table: str) -> None:
        t = checked(table)
        super().__init__(
            f"""
            CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
                    USING ERRCODE = 'integrity_constraint_violation';
            END $$;
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {t}
                FOR EACH ROW EXECUTE FUNCTION refuse_change();
            CREATE TRIGGER append_only_all BEFORE TRUNCATE ON {t}
                FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
            REVOKE UPDATE, DELETE, TRUNCATE ON {t} FROM app_rw;
            """,
            f"""
            DROP TRIGGER append_only_all ON {t};
            DROP TRIGGER append_only ON {t};
            GRANT UPDATE, DELETE ON {t} TO app_rw;
            """,
        )
        self.table = table

    def deconstruct(self) -> tuple[str, tuple[str, ...], dict[str, object]]:
        return self.__class__.__qualname__, (self.table,), {}

    def describe(self) -> str:
        return f"Let {self.table} only grow"
