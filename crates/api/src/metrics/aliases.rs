//! Our figures under the names of other servers, for dashboards that exist. Only what is counted here has an alias.

pub(super) mod triton;
pub(super) mod vllm;
