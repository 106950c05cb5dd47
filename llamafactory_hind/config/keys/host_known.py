"""Keys of the host that work with our stages, and keys that do nothing there and promise nothing."""

# The host's own functions load data and model with them, its Trainer runs by them, or our code reads them. Keys whose value
# or company matters are checked where they belong (`deepspeed`, `fsdp`, `pissa_init`, `ref_model` ...).
HONOURED = {  # where they are declared -> the keys
    "ModelArguments": """
        model_name_or_path adapter_name_or_path adapter_folder cache_dir use_fast_tokenizer resize_vocab
        split_special_tokens add_tokens add_special_tokens new_special_tokens_config init_special_tokens
        model_revision low_cpu_mem_usage rope_scaling flash_attn use_unsloth_gc enable_liger_kernel
        disable_gradient_checkpointing use_reentrant_gc upcast_layernorm upcast_lmhead_output train_from_scratch
        offload_folder infer_dtype hf_hub_token ms_hub_token om_hub_token print_param_status trust_remote_code
        quantization_method quantization_bit quantization_type double_quantization quantization_device_map
        image_max_pixels image_min_pixels image_do_pan_and_scan crop_to_patches video_max_pixels video_min_pixels
        video_fps video_maxlen use_audio_in_video audio_sampling_rate
    """,
    "DataArguments": """
        template dataset eval_dataset dataset_dir media_dir cutoff_len mix_strategy interleave_probs
        overwrite_cache preprocessing_batch_size preprocessing_num_workers max_samples val_size
        eval_on_each_dataset tool_format default_system enable_thinking preserve_thinking tokenized_path
        data_shared_file_system
    """,
    "FinetuningArguments": """
        stage freeze_trainable_layers freeze_trainable_modules freeze_extra_modules additional_target
        create_new_adapter lora_alpha lora_rank lora_target loraplus_lr_ratio loraplus_lr_embedding use_rslora
        use_dora pissa_init pissa_iter pissa_convert ref_model ref_model_adapters ref_model_quantization_bit
        use_galore galore_target galore_rank galore_update_interval galore_scale galore_proj_type galore_layerwise
        use_apollo apollo_target apollo_rank apollo_update_interval apollo_scale apollo_proj apollo_proj_type
        apollo_scale_type apollo_layerwise apollo_scale_front use_adam_mini use_muon use_swanlab swanlab_project
        swanlab_workspace swanlab_run_name swanlab_mode swanlab_api_key swanlab_logdir swanlab_lark_webhook_url
        swanlab_lark_secret pure_bf16 use_llama_pro freeze_vision_tower freeze_multi_modal_projector
        freeze_language_model disable_shuffling early_stopping_steps plot_loss
    """,
    "GeneratingArguments": """
        max_new_tokens
    """,
    "TrainingArguments, the host's additions": """
        ray_num_workers ray_init_kwargs master_addr master_port ray_run_name ray_storage_path
        ray_storage_filesystem resources_per_worker placement_strategy enable_torch_profiler profiler_output_dir
        profiler_wait_steps profiler_warmup_steps profiler_active_steps profiler_repeat profiler_record_shapes
        profiler_profile_memory profiler_with_stack profile_modules overwrite_output_dir
    """,
    "TrainingArguments of transformers: the run": """
        output_dir do_train do_eval per_device_train_batch_size per_gpu_train_batch_size
        gradient_accumulation_steps num_train_epochs max_steps seed data_seed full_determinism
        resume_from_checkpoint ignore_data_skip restore_callback_states_from_checkpoint auto_find_batch_size
        train_sampling_strategy accelerator_config dataloader_drop_last dataloader_num_workers
        dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor metric_for_best_model
        load_best_model_at_end greater_is_better
    """,
    "TrainingArguments of transformers: optimiser, precision, memory": """
        learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio optim optim_args
        optim_target_modules adafactor weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm bf16 fp16
        fp16_opt_level fp16_backend half_precision_backend tf32 bf16_full_eval fp16_full_eval
        gradient_checkpointing gradient_checkpointing_kwargs torch_empty_cache_steps skip_memory_metrics
    """,
    "TrainingArguments of transformers: evaluation, logs, checkpoints, hub": """
        eval_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size per_gpu_eval_batch_size
        logging_strategy logging_steps logging_first_step logging_dir log_level log_level_replica log_on_each_node
        logging_nan_inf_filter include_num_input_tokens_seen disable_tqdm report_to run_name project
        trackio_space_id trackio_bucket_id trackio_static_space_id save_strategy save_steps save_total_limit
        save_only_model save_on_each_node save_safetensors enable_jit_checkpoint push_to_hub hub_token
        hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision push_to_hub_model_id
        push_to_hub_organization push_to_hub_token debug
    """,
    "TrainingArguments of transformers: devices and processes": """
        use_cpu no_cuda use_mps_device use_ipex tpu_num_cores tpu_metrics_debug mp_parameters local_rank deepspeed
        fsdp fsdp_config fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap ddp_find_unused_parameters
        ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout
    """,
}
HONOURED_FOR = {  # kind of rows -> keys that its stages honour, and others refuse
    "multitask": "lora_dropout neftune_noise_alpha mask_history",
    "matching": "lora_dropout neftune_noise_alpha mask_history",
}
NEUTRAL = {  # why a key may be in a file although no training of this stage reads it -> the keys
    "Only other commands of the host read it (chat, export).": """
        infer_backend export_dir export_size export_device export_quantization_bit export_quantization_dataset
        export_quantization_nsamples export_quantization_maxlen export_legacy_format export_hub_model_id vllm_maxlen
        vllm_gpu_util vllm_enforce_eager vllm_max_lora_rank vllm_config sglang_maxlen sglang_mem_fraction sglang_tp_size
        sglang_config sglang_lora_backend
    """,
    "It says how a switch works that is refused when it is on.": """
        kt_weight_path kt_expert_checkpoint_path kt_use_lora_experts kt_lora_expert_num kt_lora_expert_intermediate_size
        kt_optimize_rule cpu_infer chunk_size mode kt_maxlen kt_use_cuda_graph kt_mode kt_force_think buffer_size
        oft_rank oft_block_size oft_target badam_mode badam_start_block badam_switch_mode badam_switch_interval
        badam_update_ratio badam_mask_mode badam_verbose hyper_parallel_args asft_alpha eaft_alpha length_column_name
        fp8_backend fp8_enable_fsdp_float8_all_gather
    """,
    "Evaluation gathers numbers, not predictions or labels.": """
        prediction_loss_only eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics
        include_inputs_for_metrics batch_eval_metrics label_names
    """,
    "Each pass says itself whether it keeps a cache.": "use_cache use_kv_cache",
    "The host or the Trainer sets it, or nobody reads it any more.": "remove_unused_columns sortish_sampler ray_scope",
    "There are no texts to decode.": "skip_special_tokens",
}
