//! What every metadata store promises, whatever it keeps its data in.

#![expect(clippy::unwrap_used, reason = "a promise that is not kept shows as a panic")]

mod changing;
mod history;
mod references;
mod registering;
mod searching;
mod snapshots;
mod together;
mod trials;

use std::sync::Arc;

use seedhouse_core::{
    Action, Applied, Change, Entry, Error, Framework, Kind, MetadataStore, ModelType, Registration, Result, Status,
    Timestamp,
};
use serde_json::Map;

use crate::suite::{Claim, check};

/// Checks every promise of the port on stores that `make` gives: a new, empty one per promise.
///
/// # Panics
/// When a promise is not kept; the message names each that is not.
pub fn metadata_store_suite(make: &dyn Fn() -> Arc<dyn MetadataStore>) {
    macro_rules! claims {
        ($($module:ident::$claim:ident,)*) => {
            [$((stringify!($claim), Box::new(|| $module::$claim(make())) as Box<dyn Fn() + '_>),)*]
        };
    }
    macro_rules! claims_about_two {
        ($($module:ident::$claim:ident,)*) => {
            [$((stringify!($claim), Box::new(|| $module::$claim([make(), make()])) as Box<dyn Fn() + '_>),)*]
        };
    }
    let claims: [Claim<'_>; _] = claims![
        registering::first_version_is_one_and_the_next_follows_the_newest,
        registering::automatic_version_follows_the_newest_not_the_latest,
        registering::given_version_id_and_name_are_kept,
        registering::ordinals_have_no_gaps_per_base,
        registering::ordinals_have_no_gaps_under_threads,
        registering::refused_registration_leaves_no_trace,
        registering::taken_model_id_is_refused_with_its_date,
        registering::taken_version_is_refused_with_its_date,
        registering::taken_default_id_of_another_base_is_refused,
        registering::required_field_among_the_further_ones_is_refused,
        registering::size_beyond_63_bits_is_refused,
        registering::unknown_fields_and_nulls_are_kept_in_their_order,
        registering::manifest_is_kept,
        registering::file_name_of_another_version_is_refused,
        registering::what_could_not_be_read_again_is_refused,
        references::every_form_finds_its_version,
        references::bare_name_never_means_two_things,
        references::base_with_a_name_that_no_id_can_have_is_found,
        references::bare_base_answers_with_the_newest_servable_version,
        references::bare_base_without_a_servable_version_answers_with_the_newest,
        references::digest_of_another_base_does_not_answer,
        references::bare_base_prefers_a_version_that_is_not_damaged,
        references::what_is_missing_is_said,
        references::versions_come_newest_first_across_schemes,
        references::versions_of_an_unknown_base_are_not_an_empty_list,
        changing::update_changes_the_record_and_its_revision,
        changing::update_of_an_older_revision_is_refused,
        changing::step_outside_the_status_table_is_refused_and_leaves_no_trace,
        changing::alias_points_at_one_version_and_moves,
        changing::version_without_files_gets_them_once,
        changing::alias_move_from_another_holder_is_refused,
        changing::what_is_set_aside_stands_in_the_history_and_changes_no_version,
        changing::removed_alias_is_gone,
        changing::damage_is_marked_and_unmarked_with_an_event_each,
        changing::deleted_version_is_hidden_and_comes_back_identical,
        changing::names_of_deleted_versions_stay_taken,
        changing::visits_show_what_is_not_deleted_in_either_order,
        changing::what_is_needed_is_not_deleted_unless_forced,
        changing::same_idempotency_key_returns_the_same_version,
        changing::adopted_record_keeps_its_times_and_what_was_not_chosen,
        changing::imported_versions_come_all_or_none,
        changing::history_of_a_subject_is_its_events,
        changing::history_of_a_models_aliases_is_of_no_other_model,
        trials::trials_are_read_with_their_alias_and_have_events,
        trials::trials_end_when_the_alias_moves_or_goes,
        trials::trials_of_what_cannot_be_tried_are_refused,
        trials::version_that_is_tried_is_not_deleted_unless_forced,
        searching::everything_comes_newest_registration_first,
        searching::text_finds_id_name_type_and_description,
        searching::chinese_is_found_at_every_length,
        searching::wildcards_mean_themselves,
        searching::every_word_must_occur_somewhere_in_the_text,
        searching::filters_narrow_together_and_the_limit_keeps_the_newest,
        searching::filters_reach_into_metadata_metrics_and_tags,
        searching::order_is_by_any_field_and_what_lacks_it_comes_last,
        searching::pages_neither_skip_nor_repeat_while_versions_are_added,
        searching::last_page_says_that_nothing_follows,
        searching::matches_are_counted_as_far_as_asked,
        searching::queries_that_break_a_rule_are_refused,
        searching::statistics_count_versions_bases_and_bytes,
        searching::statistics_of_an_empty_registry_are_zero,
        searching::sum_of_absurd_sizes_does_not_fail,
        history::revision_grows_by_one_per_change,
        history::refused_change_does_not_move_the_revision,
        history::events_form_an_intact_chain_with_the_records,
        history::events_come_in_pages,
        history::time_never_runs_backwards,
        together::changes_made_together_are_all_made_in_their_order,
        together::one_that_fails_undoes_those_before_it,
        together::changes_for_another_revision_are_refused,
        together::restored_version_is_what_it_was_and_the_history_says_so,
        together::restored_deletion_hides_the_version_and_removes_its_aliases,
        together::missing_version_is_added_only_at_its_place,
        together::restoration_of_another_version_of_the_same_name_is_refused,
    ];
    check("metadata store", &claims);
    let claims: [Claim<'_>; _] = claims_about_two![
        snapshots::snapshot_does_not_see_what_is_written_later,
        snapshots::snapshot_of_an_empty_store_is_empty,
        snapshots::filled_store_answers_as_the_source_does,
        snapshots::filled_store_goes_on_where_the_source_was,
        snapshots::store_that_holds_something_is_not_filled,
        snapshots::damaged_state_is_refused_and_nothing_of_it_is_kept,
    ];
    check("metadata store, two of them", &claims);
}

/// Returns a registration of a ready vision model without files.
fn registration(base: &str) -> Registration {
    Registration {
        base: base.parse().unwrap(),
        version: None,
        model_id: None,
        name: None,
        model_type: ModelType::Vision,
        framework: Framework::Pytorch,
        status: Status::Ready,
        manifest: None,
        fields: Map::new(),
        idempotency_key: None,
    }
}

/// Returns the same with a version label.
fn labelled(base: &str, version: &str) -> Registration {
    Registration { version: Some(version.parse().unwrap()), ..registration(base) }
}

fn change_at(at: Timestamp, registration: Registration) -> Change {
    Change { at, actor: "suite".into(), reason: None, action: Action::Register(Box::new(registration)) }
}

fn apply(store: &dyn MetadataStore, action: Action) -> Result<Applied> {
    store.apply(Change { at: Timestamp::now(), actor: "suite".into(), reason: Some("suite".into()), action })
}

fn try_register(store: &dyn MetadataStore, registration: Registration) -> Result<Applied> {
    store.apply(change_at(Timestamp::now(), registration))
}

fn register(store: &dyn MetadataStore, registration: Registration) -> Entry {
    try_register(store, registration).unwrap().entry
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.record.model_id.as_str()).collect()
}

#[track_caller]
fn assert_taken(outcome: Result<Applied>, kind: Kind, name: &str, since: Timestamp) {
    match outcome {
        Err(Error::AlreadyExists { kind: found_kind, name: found_name, since: found_since }) => {
            assert_eq!((found_kind, found_name.as_str(), found_since), (kind, name, since));
        }
        other => panic!("{kind} `{name}` should be taken, but the answer is {other:?}"),
    }
}
