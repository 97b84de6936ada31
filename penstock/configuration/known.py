"""LiteLLM's vocabulary (1.109) that we understand as such but do not act on yet, and the parameters we pass on.

What is in none of these sets and has no field of ours is an unknown key. A later feature takes its keys out of here.
"""


def words(listed: str) -> frozenset[str]:
    """The words of a text: long lists stay readable."""
    return frozenset(listed.split())


TOP = words(
    """agent_list agents assistant_settings callback_settings default_vertex_config files_settings
    finetune_settings guardrails mcp_servers mcp_tools policies prompts sandbox_tools search_tools
    vector_store_registry worker_registry"""
)

LITELLM_PARAMS = words(
    """additional_drop_params adaptive_router_config allow_client_keepalive_override allowed_openai_params
    api_version auto_router_config auto_router_config_path auto_router_default_model auto_router_embedding_model
    budget_duration cache cache_control_injection_points caching complexity_router_config
    context_window_fallback_dict custom_prompt_dict default_api_key_rpm_limit default_api_key_tpm_limit
    enable_tag_filtering ensure_alternating_roles fallbacks guardrails keepalive_seconds
    max_budget max_file_size_mb max_retries merge_reasoning_content_in_choices mock_timeout prompt_id
    prompt_variables proxy_url quality_router_config region_name retry_policy roles silent_model ssl_verify
    stream_timeout_by_service_tier supports_system_message tag_regex tiered_pricing timeout_by_service_tier
    turn_off_message_logging use_chat_completions_api use_in_pass_through use_litellm_proxy vector_store_id
    client_id client_secret tenant_id azure_ad_token"""
)
CREDENTIAL_PREFIXES = (
    "aws_", "azure_", "vertex_", "watsonx_", "s3_", "gcs_", "oci_", "snowflake_", "sap_", "langfuse_", "langsmith_",
)  # fmt: skip

MODEL_INFO = words(
    """access_windows allow_fail_open allowed_fails_policy blocked disable_background_health_check
    enable_tag_filtering health_check_max_tokens health_check_model health_check_timeout supported_environments
    team_id team_public_model_name tier"""
)

ROUTER = words(
    """alerting_config assistants_config cache_kwargs cache_responses caching_groups client_ttl debug_level
    default_litellm_params default_priority enable_health_check_routing enable_mid_stream_fallback_continuation
    enable_weighted_failover guardrail_list ignore_invalid_deployments model_group_affinity_config
    polling_interval provider_budget_config redis_db redis_host redis_password redis_port redis_url
    router_general_settings routing_groups search_tools set_verbose"""
)

STRATEGY_ARGS = words("max_latency_list_size rolling_window_size ttl")

FALLBACK_PARAMS = words(
    """api_base api_key api_version base_url custom_llm_provider drop_params extra_body extra_headers fallbacks headers
    max_retries mock_response num_retries organization stream_timeout timeout"""
)

LITELLM = words(
    """audit_log_callbacks budget_reset_time cache cache_params
    callbacks cost_discount_config cost_margin_config custom_provider_map
    default_team_settings
    disable_add_transform_inline_image_block disable_end_user_cost_tracking enable_json_schema_validation
    expose_router_debug_in_errors failure_callback force_ipv4 forward_traceparent_to_llm_provider json_logs
    langfuse_default_tags max_end_user_budget
    max_ui_session_budget model_cost_map modify_params post_call_rules pre_call_rules
    priority_reservation public_model_groups redact_messages_in_exceptions redact_user_api_key_info
    service_callback set_verbose ssl_certificate ssl_verify success_callback tag_budget_config
    telemetry turn_off_message_logging user_url_validation"""
)

GENERAL = words(
    """accounting_capture accounting_sync_ack accounting_sync_ack_failure_policy accounting_sync_ack_timeout_seconds
    admission_queue_timeout_seconds alert_to_webhook_url alert_types alerting alerting_args
    alerting_threshold allow_client_side_credentials allow_requests_on_db_unavailable
    allow_user_auth allowed_file_extensions always_include_stream_usage
    background_health_checks blocked_file_extensions cancel_on_disconnect
    completion_model coordination_redis custom_auth custom_key_generate custom_sso custom_ui_sso_sign_in_handler
    dangerously_permit_weak_or_unset_master_key database_args database_connect_timeout
    database_connection_pool_limit database_connection_timeout database_disable_prepared_statements
    database_extra_connection_params database_max_idle_connection_lifetime database_socket_timeout database_type
    default_model disable_budget_reservation disable_error_logs disable_password_login_when_sso_enabled
    disable_prisma_schema_update disable_reset_budget disable_spend_logs disable_spend_updates
    enable_oauth2_auth enable_public_model_hub enforce_fallback_model_access enforce_user_param
    fail_closed_budget_enforcement fail_closed_rate_limit_enforcement
    forward_client_headers_to_llm_api forward_llm_provider_auth_headers forward_openai_org_id
    global_max_parallel_requests health_check_concurrency health_check_details health_check_interval
    infer_model_from_keys key_management_settings key_management_system max_batch_file_records
    max_batch_file_size_mb max_batch_file_uploads_per_day max_file_size_mb max_in_flight_requests_per_worker
    max_queued_requests_per_worker max_response_size_mb
    maximum_spend_logs_retention_interval maximum_spend_logs_retention_period missing_session_id otel
    pass_through_endpoints pass_through_request_timeout proxy_batch_write_at
    proxy_budget_rescheduler_max_time proxy_budget_rescheduler_min_time proxy_config_reload_interval_seconds
    reject_clientside_metadata_tags role_permissions
    spend_logs_metadata_fields store_prompts_in_spend_logs supported_db_objects
    ui_access_mode use_azure_key_vault use_google_kms use_redis_transaction_buffer
    use_spend_logs_partitioning user_api_key_cache_max_size user_api_key_cache_ttl user_header_mappings
    user_header_name user_url_allowed_hosts user_url_validation"""
)

PARAMETERS = words(
    """audio dimensions encoding_format frequency_penalty function_call functions keep_alive logit_bias logprobs
    max_completion_tokens max_tokens metadata min_p modalities n num_batch num_ctx num_gpu num_keep num_predict
    num_thread parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_retention reasoning
    reasoning_effort repeat_last_n repeat_penalty repetition_penalty response_format safety_identifier
    safety_settings seed service_tier stop stop_sequences store stream_options system temperature tfs_z think
    thinking tool_choice tools top_a top_k top_logprobs top_p transforms typical_p user verbosity
    web_search_options mirostat mirostat_eta mirostat_tau"""
)

PROVIDERS = words(
    """a2a a2a_agent ai21 ai21_chat aiml anthropic anthropic_text anyscale auto_router aws_polly aws_textract azure
    azure_ai azure_speech azure_text baseten bedrock bedrock_mantle bespoke black_forest_labs bytez cerebras chatgpt
    clarifai cloudflare codestral cohere cohere_chat cursor custom custom_openai dashscope databricks
    databricks_agent datarobot deepgram deepinfra deepseek dotprompt elevenlabs eu_jev fal_ai featherless_ai
    fireworks_ai friendliai galadriel gdc gemini gigachat github github_copilot gradient_ai groq hosted_vllm
    huggingface humanloop hyperbolic infinity jina_ai lambda_ai langflow langfuse langgraph laya litellm_agent
    litellm_proxy llamafile lm_studio manus meta_llama microsoft_365_copilot milvus mistral mongodb moonshot morph
    nace nebius nlp_cloud novita nscale nvidia_nim nvidia_riva oci ollama ollama_chat oobabooga openai openai_like
    opensearch openrouter ovhcloud perplexity petals pg_vector predibase ragflow recraft reducto replicate runwayml
    s3_vectors sagemaker sagemaker_chat sagemaker_nova sambanova sap scaledown snowflake soniox stability
    strands_decider text-completion-codestral text-completion-inception text-completion-openai together_ai topaz
    transcribe triton typesafe v0 valkey vercel_ai_gateway vertex_ai vertex_ai_beta vllm volcengine voyage watsonx
    watsonx_text xai xinference zai"""
)
