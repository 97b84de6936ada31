"""Who is let in, as `general_settings` say it: addresses, routes, tokens."""

import pytest

from schemas.config import AccessSettings, ClaimFields, Issuer, Jwt
from tests.configuration.loaded import config, errors, warnings

KEYS = {"JWT_PUBLIC_KEY_URL": "https://id.example/keys", "JWT_AUDIENCE": "penstock"}


def jwt(tmp_path, fields, environ=None):
    text = f"general_settings: {{enable_jwt_auth: true, litellm_jwtauth: {{{fields}}}}}\n"
    found = config(tmp_path, text, KEYS if environ is None else environ)
    return found.access.jwt, [line.replace(f"{tmp_path}/", "") for line in found.warnings]


def test_nothing_said_lets_everybody_in(tmp_path):
    assert config(tmp_path, "model_list: []\n").access == AccessSettings()


def test_addresses_and_routes(tmp_path):
    text = """
        general_settings:
          allowed_ips: [192.0.2.1, 10.0.0.0/8, "2001:db8::/32"]
          use_x_forwarded_for: true
          trusted_proxy_ranges: ["10.1.0.0/16"]
          allowed_routes: [/v1/chat/completions]
          admin_only_routes: [/key/generate]
          public_routes: [LiteLLMRoutes.public_routes, /spend/calculate]
          enforced_params: [user, metadata.generation_name]
          disable_requester_ip_address_logging: true
    """
    assert config(tmp_path, text).access == AccessSettings(
        allowed_ips=("192.0.2.1", "10.0.0.0/8", "2001:db8::/32"),
        use_forwarded=True,
        trusted_proxies=("10.1.0.0/16",),
        allowed_routes=("/v1/chat/completions",),
        admin_only_routes=("/key/generate",),
        public_routes=("LiteLLMRoutes.public_routes", "/spend/calculate"),
        enforced_params=("user", "metadata.generation_name"),
        record_addresses=False,
    )
    assert warnings(tmp_path, text) == []


def test_an_empty_list_of_addresses_lets_nobody_in(tmp_path):
    assert config(tmp_path, "general_settings: {allowed_ips: []}\n").access.allowed_ips == ()


@pytest.mark.parametrize("key", ["allowed_ips", "trusted_proxy_ranges"])
def test_what_is_no_address_is_an_error(tmp_path, key):
    (line,) = errors(tmp_path, f"general_settings: {{{key}: [10.0.0.0/8, gateway.example]}}\n")
    assert f"general_settings.{key}" in line
    assert "gateway.example" in line


def test_a_header_that_anybody_can_write_is_warned_of(tmp_path):
    (line,) = warnings(tmp_path, "general_settings: {use_x_forwarded_for: true}\n")
    assert "trusted_proxy_ranges" in line


def test_the_audit_log_is_always_kept(tmp_path):
    assert warnings(tmp_path, "litellm_settings: {store_audit_logs: true}\n") == []
    (line,) = warnings(tmp_path, "litellm_settings: {store_audit_logs: false}\n")
    assert "always kept" in line


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_are_taken_only_when_it_is_said(tmp_path):
    text = "general_settings: {litellm_jwtauth: {user_id_jwt_field: sub}}\n"
    assert config(tmp_path, text, KEYS).access.jwt is None
    (line,) = warnings(tmp_path, text, KEYS)
    assert "enable_jwt_auth" in line


def test_litellms_example(tmp_path):
    fields = """admin_jwt_scope: boss, admin_allowed_routes: [openai_routes], user_id_jwt_field: sub,
        user_email_jwt_field: email, user_allowed_email_domain: x.org, user_id_upsert: true,
        team_ids_jwt_field: groups, team_id_jwt_field: client_id, org_id_jwt_field: org,
        end_user_id_jwt_field: customer, team_allowed_routes: [/v1/embeddings], public_key_ttl: 60,
        enforce_team_based_model_access: true, roles_jwt_field: roles, enforce_rbac: true,
        role_mappings: [{role: app, internal_role: team}],
        sync_user_role_and_teams: true, jwt_litellm_role_map: [{jwt_role: "a*", litellm_role: proxy_admin}],
        enforce_scope_based_access: true, scope_mappings: [{scope: s, models: [gpt]}]"""
    found, warned = jwt(tmp_path, fields)
    assert warned == []
    named = ClaimFields(
        user_id="sub",
        user_email="email",
        team_ids="groups",
        team_id="client_id",
        org_id="org",
        end_user_id="customer",
        roles="roles",
    )
    assert found == Jwt(
        issuers=(Issuer(key_urls=("https://id.example/keys",), audiences=("penstock",), fields=named),),
        key_ttl=60,
        admin_scope="boss",
        admin_routes=("openai_routes",),
        team_routes=("/v1/embeddings",),
        team_needed=True,
        user_upsert=True,
        email_domain="x.org",
        role_needed=True,
        role_mappings=(("app", "team"),),
        role_map=(("a*", "proxy_admin"),),
        role_sync=True,
        scope_models=(("s", ("gpt",)),),
    )


def test_an_issuer_alone_is_asked_where_its_keys_are(tmp_path):
    found, _ = jwt(tmp_path, "", {"JWT_ISSUER": "https://id.example/", "JWT_AUDIENCE": "a, b"})
    (issuer,) = found.issuers
    assert issuer.name == "https://id.example/"
    assert issuer.key_urls == ("https://id.example/.well-known/openid-configuration",)
    assert issuer.audiences == ("a", "b")


def test_the_file_wins_over_the_variables(tmp_path):
    found, _ = jwt(
        tmp_path, "public_key_url: 'https://a.example/k,https://b.example/k', audience: [x], issuer: me", KEYS
    )
    (issuer,) = found.issuers
    assert issuer == Issuer(name="me", key_urls=("https://a.example/k", "https://b.example/k"), audiences=("x",))


def test_several_issuers(tmp_path):
    fields = """user_id_jwt_field: sub, issuers: [
        {issuer: "https://one.example", audience: a, user_id_jwt_field: uid},
        {issuer: "https://two.example", jwks_url: "https://two.example/k", disable_audience_validation: true}]"""
    found, warned = jwt(tmp_path, fields, {})
    assert warned == []
    one, two = found.issuers
    assert one.key_urls == ("https://one.example/.well-known/openid-configuration",)
    assert (one.audiences, one.fields.user_id) == (("a",), "uid")
    assert (two.key_urls, two.audiences, two.fields.user_id) == (("https://two.example/k",), (), "sub")


def test_what_is_weak_is_warned_of(tmp_path):
    _, warned = jwt(tmp_path, "", {"JWT_PUBLIC_KEY_URL": "http://id.example/keys"})
    assert any("JWT_AUDIENCE" in line for line in warned)
    assert any("without TLS" in line for line in warned)
    _, warned = jwt(tmp_path, "", {**KEYS, "JWT_PUBLIC_KEY_URL": "http://localhost:8080/keys"})
    assert warned == []


def test_what_litellm_knows_and_we_do_not_is_warned_of(tmp_path):
    _, warned = jwt(tmp_path, "oidc_userinfo_enabled: true, color: red")
    assert [line.partition(":")[0] for line in warned] == [
        "general_settings.litellm_jwtauth.oidc_userinfo_enabled",
        "general_settings.litellm_jwtauth.color",
    ]


@pytest.mark.parametrize(
    ("fields", "environ", "words"),
    [
        ("", {}, "JWT_PUBLIC_KEY_URL"),
        ("", {"JWT_PUBLIC_KEY_URL": "file:///keys"}, "URLs"),
        ("public_key_ttl: 0", KEYS, "above 0"),
        ("custom_validate: my.check", KEYS, "not supported"),
        ("virtual_key_claim_field: sub", KEYS, "not supported"),
        ("role_mappings: [{role: a}]", KEYS, "internal_role"),
        ("role_mappings: [{role: a, internal_role: king}]", KEYS, "internal_role"),
        ("role_mappings: {a: team}", KEYS, "a list"),
        ("jwt_litellm_role_map: [{jwt_role: a, litellm_role: king}]", KEYS, "litellm_role"),
        ("enforce_scope_based_access: true, scope_mappings: [{models: [a]}]", KEYS, "scope"),
        ("issuers: [{issuer: x}]", KEYS, "audience"),
        ("issuers: [{issuer: x, audience: a, disable_audience_validation: true}]", KEYS, "not both"),
        ("issuers: [{audience: a}]", KEYS, "issuer is needed"),
    ],
)
def test_what_cannot_be_used_is_an_error(tmp_path, fields, environ, words):
    text = f"general_settings: {{enable_jwt_auth: true, litellm_jwtauth: {{{fields}}}}}\n"
    assert any(words in line for line in errors(tmp_path, text, environ))
