//! The platform contract, one test for each promise and each kind of exit, over every platform that runs guest code.
//!
//! Names in `suite` say which promise of `bartizan_platform` they check.

mod calls;
mod code;
mod environment;
mod exits;
mod faults;
mod hostile;
mod interrupts;
mod leftovers;
mod mappings;
mod registers;

use std::sync::Arc;

use bartizan_platform::{Platform, PlatformError};

/// How a platform is made.
type Constructor = fn() -> Result<Arc<dyn Platform>, PlatformError>;

/// One test for each check, for one platform.
macro_rules! conformance {
    ($platform:ident, $constructor:expr, [$($module:ident :: $check:ident),* $(,)?]) => {
        mod $platform {
            $(
                #[test]
                fn $check() {
                    if let Some(environment) = crate::environment::Environment::new($constructor) {
                        crate::$module::$check(&environment);
                    }
                }
            )*
        }
    };
}

/// The whole suite for one platform.
macro_rules! all_checks {
    ($platform:ident, $constructor:expr) => {
        conformance!(
            $platform,
            $constructor,
            [
                registers::registers_go_in_and_out,
                registers::a_system_call_stops_behind_its_instruction,
                registers::no_call_reaches_the_host,
                registers::no_call_is_restarted,
                registers::old_entries_are_no_system_calls,
                registers::vsyscalls_are_system_calls,
                registers::strange_segments_are_survived,
                registers::impossible_registers_trap,
                registers::vector_state_belongs_to_the_context,
                registers::hostile_vector_state_is_sanitised,
                registers::segment_bases_are_loaded,
                hostile::odd_instructions_are_survived,
                hostile::random_code_is_survived,
                hostile::random_registers_are_survived,
                hostile::jumps_into_the_platforms_pages_are_survived,
                hostile::writes_to_the_platforms_pages_are_survived,
                hostile::a_guest_that_blocks_signals_is_ended,
                faults::reads_writes_and_fetches_of_absent_pages,
                faults::writes_to_read_only_pages,
                faults::fetches_of_data_pages,
                faults::a_write_to_its_own_instruction,
                faults::faults_repeat_after_mapping,
                faults::addresses_outside_are_faults,
                faults::truncated_files_are_bus_errors,
                faults::exceptions_are_traps,
                faults::single_steps_are_traps,
                interrupts::a_spinning_guest_is_interrupted,
                interrupts::an_early_interrupt_is_kept,
                interrupts::registers_are_complete_after_an_early_interrupt,
                interrupts::interrupts_do_not_change_registers,
                interrupts::signals_from_outside_are_ignored,
                calls::patched_calls_are_calls,
                calls::interrupts_lose_no_patched_call,
                calls::contexts_with_one_base_do_not_mix_up,
                calls::a_context_may_rest_in_a_patched_call,
                calls::slow_answers_are_answers,
                calls::writes_to_call_blocks_are_survived,
                mappings::two_contexts_share_an_address_space,
                mappings::operations_take_effect_in_order,
                mappings::unmapping_is_confirmed_while_others_run,
                mappings::protecting_is_confirmed_while_others_run,
                mappings::retired_objects_wait_for_what_was_queued,
                mappings::wrong_ranges_are_refused,
                mappings::many_mappings_at_once,
                mappings::populated_mappings_hold_data,
                mappings::a_refused_operation_stops_the_guest,
                mappings::an_interrupt_finds_the_right_address_space,
                mappings::a_context_moves_between_address_spaces,
                leftovers::a_killed_stub_is_an_error,
                leftovers::a_killed_running_stub_is_an_error,
                leftovers::nothing_stays_behind,
                leftovers::many_platforms_side_by_side,
                leftovers::many_contexts_come_and_go,
                leftovers::all_processes_die_with_the_host,
            ]
        );
    };
}

all_checks!(ptrace, || bartizan_platform::ptrace::PtracePlatform::new()
    .map(|platform| platform as std::sync::Arc<dyn bartizan_platform::Platform>));
all_checks!(systrap, || bartizan_platform::systrap::SystrapPlatform::new()
    .map(|platform| platform as std::sync::Arc<dyn bartizan_platform::Platform>));
all_checks!(kvm, || bartizan_platform::kvm::KvmPlatform::new()
    .map(|platform| platform as std::sync::Arc<dyn bartizan_platform::Platform>));
conformance!(
    kvm_exits,
    || bartizan_platform::kvm::KvmPlatform::new()
        .map(|platform| platform as std::sync::Arc<dyn bartizan_platform::Platform>),
    [exits::a_system_call_is_one_exit, exits::a_populated_fault_is_one_exit, exits::mapping_is_no_exit]
);
