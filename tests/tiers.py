"""Which tests are slow, run kernels in the emulator, or belong to the notebooks: the marks that conftest.py puts on.

Folders give `emulator` and `notebooks`. SLOW lists what `pytest -m "not slow"` leaves out: a test that takes about a
second or more on two cores, or that waits for a compiler on a fresh machine. Where a test has many cases, a few stay.
"""

import re

EMULATOR = (
    "gpu/",
    *(f"bench/test_{name}.py" for name in ("kernel_rows", "launches", "precision", "registers", "sass", "whole")),
)
EMULATOR += ("parallel/test_nccl.py",)
NOTEBOOKS = ("tutorials/",)

KERNELS = re.compile(r"gpu/test_(kernels|half)\w*\.py")
ONE_ORDER = r"(?!reverse|random).*"  # of kernel tests: threads in one order, and on a GPU if there is one

# file: {test: the cases that stay in the fast tier, as a regular expression of their whole names; None: no case}
SLOW = {
    "training/test_large.py": {"test_a_simulated_audioset": None},
    "training/test_many.py": {
        **dict.fromkeys(("test_killed_and_resumed", "test_ctrl_c_and_resume", "test_all_become_longer")),
        **dict.fromkeys(("test_seeds_share_the_split", "test_a_run_that_blows_up_does_not_stop_the_others")),
        **dict.fromkeys(("test_means_and_deviations", "test_every_fold_is_the_test_set_once_for_each_seed")),
        **dict.fromkeys(("test_a_run_is_the_command_with_fold_and_seed", "test_refusals_of_a_folder_of_runs")),
        "test_drawn_folds_are_a_partition_that_evaluate_finds_again": None,
    },
    "training/test_longer.py": {
        **dict.fromkeys(("test_a_cosine_goes_on_where_the_longer_one_is", "test_milestones_simply_go_on")),
        **dict.fromkeys(("test_out_of_patience_and_more_of_it", "test_tensorboard", "test_patience")),
        **dict.fromkeys(("test_a_run_does_not_become_shorter", "test_a_log_says_how_far_a_long_epoch_is")),
        "test_without_a_validation_split_nothing_is_chosen": None,
    },
    "training/test_fitted.py": {
        **dict.fromkeys(("test_an_estimate_is_near_the_time_of_a_step", "test_8_khz_is_trained_at_8_khz")),
        "test_a_default_that_is_too_slow_gives_way_unless_it_was_asked_for": "asked0",
    },
    "model/test_model.py": {"test_every_weight": "bce-.*"},
    "model/test_fast.py": {"test_worker_processes": "1-.*"},
    "commands/test_package.py": {"test_help": "train|bench", "test_wrong_flags_exit_2": "predict"},
    "commands/test_predict.py": {
        "test_memory_does_not_grow_with_the_length": None,
        "test_a_long_recording_in_blocks_is_the_waveform_at_once": None,
    },
    "commands/test_predict_batches.py": {"test_an_interrupted_batch_keeps_what_is_done": "SIGKILL"},
    "decisions/test_commands.py": {
        "test_an_ensemble_is_evaluated": None,
        "test_an_ensemble_leaves_out_what_any_member_was_trained_on": None,
    },
    "training/test_metrics.py": {"test_the_interval_holds_the_estimate_at_chance_level": None},
    "commands/test_scan.py": {
        "test_an_archive": "1",
        "test_a_journal_that_was_cut_or_changed_anywhere": None,
        "test_excerpts": None,
    },
    "exports/test_onnx.py": {"test_base": None},
    "embeddings/test_probe.py": {"test_esc10": None, "test_a_checkpoint_for_every_command": None},
    "embeddings/test_index.py": {"test_an_archive": "1"},
    "embeddings/test_suggest.py": {
        "test_suggested_labels_beat_random_ones": None,
        "test_the_experiment_writes_its_curve": None,
    },
    "streaming/test_cluster.py": {
        "test_a_killed_worker_costs_nothing_and_doubles_nothing": None,
        "test_a_file_that_kills_its_workers_is_skipped": None,
    },
    "streaming/test_scenes.py": {"test_built_in_sounds": None, "test_memory_is_that_of_minutes_after_hours": None},
    "review/test_browser.py": {
        "test_it_opens_and_fits": None,
        **dict.fromkeys(("test_zoom_and_pan", "test_two_fingers", "test_sounds_play_from_part_to_part")),
        **dict.fromkeys(("test_every_key", "test_lists", "test_labels_survive_and_are_a_manifest")),
        "test_ten_thousand_events": None,
    },
    "review/test_page.py": {
        "test_memory_does_not_grow_with_the_length": None,
        "test_from_a_scan_to_a_model_of_ones_own": None,
    },
    "parallel/test_nccl.py": {"test_steps_are_those_of_the_emulator": "all-fixed"},
    "parallel/test_mpi.py": {
        **dict.fromkeys(("test_a_run_of_two_and_of_four_processes_is_that_of_one", "test_a_killed_process")),
        **dict.fromkeys(("test_a_run_goes_on_with_another_number", "test_stopped_on_one_and_saved_on_all")),
        **dict.fromkeys(("test_an_error_is_said_once", "test_a_file_that_is_found_late")),
        "test_scaling_is_measured": None,
    },
    "parallel/test_local.py": {
        **dict.fromkeys(("test_a_killed_process", "test_ctrl_c", "test_all_operations")),
    },
    "pages/test_browser.py": {
        "test_a_click_sorts_a_field_filters_and_a_button_unfolds": None,
        "test_a_sound_plays_and_the_cursor_moves": None,
        "test_a_report_fits_the_screen_and_runs_nothing_of_a_user": None,
        "test_the_policy_stops_foreign_scripts": None,
    },
    "commands/test_report.py": {"test_a_swapped_label_comes_first": None},
    "commands/test_console.py": {
        "test_a_command_says_how_it_was_started": "train",
        "test_it_does_what_the_module_does": None,
        "test_bash_completes": None,
    },
    "gpu/test_kernels_attention.py": {
        "test_forward_and_backward": r"(forward|reverse)-(2x50x1x64|3x64x1x16)-.*|random-2x7x2x48-.*|cuda-.*",
        "test_the_bias_of_qkv": r"reverse-2x50x3x32-[12]-[456]-.*|random-2x7x2x48-2-6-.*|cuda-.*",
    },
    "gpu/test_mutations.py": {
        "test_planted_bugs_are_noticed": "a statistic of the loss is not written",
        "test_without_the_bug_the_same_check_passes": "a statistic of the loss is not written",
        "test_what_changes_nothing_is_let_pass": "a block with no weights left goes on",
    },
    "gpu/test_mutations_hopper.py": {
        "test_planted_bugs_are_noticed": "no fence before a tile's products",
        "test_without_the_bug_the_same_checks_pass": "forward",
    },
    "gpu/test_mutations_more.py": {
        "test_planted_bugs_are_noticed": "no floor|dk is not scaled",
        "test_without_the_bug_the_same_checks_pass": "mel|attention",
    },
    "gpu/test_kernels_tf32.py": {"test_a_training_run": None},
    "gpu/test_kernels_hopper.py": {
        "test_forward": r"forward-2x129x1x16x3-.*|cuda-.*",
        "test_the_bias_of_qkv_and_gradients": r"reverse-1x128x2x32x2-.*|cuda-.*",
        "test_backward": r"forward-2x129x1x16x2-.*|cuda-.*",
        "test_scores_that_grow_or_fall": r"random-8.0-float16|cuda-.*",
    },
    "gpu/test_adding.py": {
        "test_all_of_the_gradient_is_written": "emulator-(float32|bfloat16)-2 prefix.*-3|cuda-.*",
        "test_a_learner_takes_the_same_steps": "(tf32|float16)-.*grad_accum.*",
        "test_graphs_that_write_and_graphs_that_add": "bfloat16-.*|.*-cuda",
        "test_a_step_that_was_skipped_leaves_nothing": None,
    },
    "gpu/test_gpu_path.py": {
        "test_a_training_run_goes_on_from_its_checkpoint": None,
        "test_the_shapes_asked_for_last_keep_their_graphs": None,
        "test_training_is_the_emulators_bit_for_bit": r"all-bfloat16-.*",
        "test_inference_replays_what_comes_again": r"all-.*",
        "test_a_replayed_step_allocates_its_results_alone": r"all-.*",
        "test_another_stream_waits_for_the_pass_before": "all",
        "test_what_cannot_be_recorded_runs_launch_by_launch_and_is_tried_once": "all",
    },
    "gpu/test_script.py": {
        "test_a_rehearsal": None,
        "test_a_step_that_fails_leaves_the_others_and_comes_again_in_part_3": None,
    },
    "gpu/test_bare_machine.py": {"test_the_kernel_suite": None, "test_training_on_the_built_in_sounds": None},
    "gpu/test_kernels_model.py": {"test_ten_steps_of_training": None},
    "gpu/test_half_encoder.py": {
        "test_training_reaches_the_loss_of_float32": None,
        "test_float16_finds_its_scale": None,
        "test_gradients_of_the_whole_model": r"2 .*",
    },
    "gpu/test_guard.py": {
        "test_a_handler_of_the_programs_own_hears_the_first_ctrl_c_and_the_second_ends_the_launch": None,
        "test_ctrl_c_ends_a_kernel_that_does_not": None,
    },
    "bench/test_kernel_rows.py": {
        "test_all_rows_in_the_emulator": None,
        "test_backends_of_a_cpu": None,
        "test_rows_of_16_bits_are_checked_against_float32": None,
    },
    "bench/test_precision.py": {
        "test_the_command_writes_into_the_readme": None,
        "test_it_measures_tf32_and_16_bits": None,
    },
    "bench/test_whole.py": {"test_a_step_without_torch": None},
    "bench/test_registers.py": {
        "test_compiles_without_spills": r"softmax\.cu-.*",
        "test_the_run_time_compiler_takes_them_too": None,
        "test_the_run_time_compiler_reads_every_file": r"softmax\.cu",
        "test_another_compiler_compiles_again": None,
        "test_a_kernel_that_spills_is_seen": None,
        "test_the_hopper_kernels_keep_their_products_asynchronous": None,
        "test_nvrtc_takes_90a_of_two_architectures": None,
    },
    "bench/test_flight.py": {"test_kernels_load_a_row_at_once": r"(softmax|unfold_gather|square).*"},
    "bench/test_sass.py": {
        "test_version_7_overlaps": None,
        "test_the_lean_kernel_is_leaner": None,
        "test_two_fragments_a_warp_load_less_for_each_product": None,
    },
    "bench/test_bench.py": {"test_peak_memory_is_the_process_s_own": None, "test_functions_alternate": None},
    "bench/test_growth_runs.py": {"test_a_rehearsal_measures": None},
    "bench/test_machine.py": {"test_openblas_itself_held_to_old_kernels": None},
    "bench/test_sides.py": {"test_all_libraries_that_are_here": None},
    "bench/test_goals.py": {"test_an_idle_device_and_memory_apart": None},
    "fuzz/test_fuzz.py": {"test_2000_files": None, "test_every_kind_of_fault_is_noticed": None},
    "data/test_audioset.py": {"test_many_segments": r"20000-.*"},
    "data/test_official.py": {"test_a_new_data_set_is_evaluated_on_its_fold_of_training": "own"},
    "data/test_bad_files.py": {"test_many_writers_and_readers": None},
    "data/test_identity.py": {"test_fine_tuning_holds_out_what_the_weights_have_not_seen": None},
    "training/test_train.py": {
        "test_resume_with_augmentation": None,
        "test_seed_fixes_everything": None,
        "test_16_bits_resume_bit_for_bit": None,
        "test_a_step_that_overflows_is_skipped_and_said_when_it_never_ends": None,
        "test_resume_bit_for_bit": "4",
        "test_builtin_run_starts": None,
        "test_fine_tuning": None,
        "test_resume_finds_moved_data_and_notices_changed_sounds": None,
        "test_resume_refuses_other_data": None,
    },
    "training/test_threads_of_a_run.py": {"test_blas_has_the_number_that_the_run_records": None},
    "training/test_stopping.py": {
        "test_ctrl_c_in_a_real_process": None,
        "test_stopped_at_once": None,
        "test_data_that_moved_are_found_by_the_printed_command": None,
    },
    "commands/test_streams.py": {
        "test_closed_streams": re.escape("<&- >&- 2>&-"),
        "test_training_with_all_streams_closed": None,
        "test_a_reader_that_leaves_early": None,
    },
    "faults/test_kills.py": {
        "test_killed_at_an_fsync_or_a_renaming": "replace-1|fsync-2",
        "test_killed_at_a_random_moment": "0",
        "test_a_run_that_is_killed_again_and_again_arrives": None,
    },
    "faults/test_disks.py": {
        "test_a_disk_that_is_full_from_some_write_on": "0",
        "test_a_disk_with_no_room_for_a_picture": None,
        "test_a_flipped_bit_in_a_checkpoint": "0",
        "test_a_flipped_bit_in_each_cached_feature": None,
        "test_clocks_that_jump_change_no_weight": None,
    },
    "faults/test_two_runs.py": {
        "test_two_starts_at_once_without_out_get_two_folders": None,
        "test_two_starts_at_once_with_the_same_out": None,
    },
    "faults/test_scans.py": {
        "test_2000_recordings_killed_five_times": None,
        "test_two_processes_killed_five_times": None,
        "test_killed_at_each_fsync": None,
    },
    "faults/test_indexes.py": {"test_two_processes_killed": None, "test_killed_at_each_fsync": None},
    "faults/test_signals.py": {
        "test_training_is_saved_and_goes_on": "15",
        "test_nohup": None,
        "test_while_importing": "console-numpy-2|module-minast.cli-15",
        "test_a_program_that_imports_minast_keeps_its_signals": None,
    },
    "tutorials/test_notebooks.py": {
        "test_runs_as_a_script": "03_backprop",
        "test_cells_give_what_is_stored": None,
        "test_wrong_answers_are_noticed": r"(?!first_kernel|fast_attention).*",
        "test_the_solution_is_right_and_a_stub_is_not_done": r"(?!first_kernel|fast_attention).*",
        "test_building_twice_gives_the_same_bytes": None,
        "test_what_is_refused_leaves_no_notebook": None,
        "test_html_and_times": None,
        "test_a_hint_is_folded_in_a_page": None,
    },
}


def marks(path, test, case):
    """The marks of one test.   path below tests/, with slashes; case: the name between brackets, or "" """
    found = [name for name, places in (("emulator", EMULATOR), ("notebooks", NOTEBOOKS)) if path.startswith(places)]
    stay = SLOW.get(path, {}).get(test, ONE_ORDER if KERNELS.fullmatch(path) else ".*")
    if stay is None or not re.fullmatch(stay, case, re.DOTALL):
        found.append("slow")
    return found
