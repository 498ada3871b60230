//! Exit codes, computed from the error's code. The help text lists them.

use seedhouse_core::Code;

/// Returns the exit code of an error. 2 is also what the argument parser uses for wrong usage.
pub(crate) fn exit_code(code: Code) -> u8 {
    match code {
        Code::Internal => 1,
        Code::Invalid => 2,
        Code::NotFound => 3,
        Code::AlreadyExists => 4,
        Code::Conflict => 5,
        Code::FailedPrecondition => 6,
        Code::PermissionDenied => 7,
        Code::Unauthenticated => 8,
        Code::TooLarge => 9,
        Code::Unsupported => 10,
        Code::Corrupt => 11,
        Code::Exhausted => 12,
        Code::Cancelled => 13,
        Code::Deadline => 14,
        Code::Unavailable => 15,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_an_exit_code_of_its_own_and_none_is_success() {
        let codes: HashSet<u8> = Code::ALL.into_iter().map(exit_code).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        assert!(!codes.contains(&0));
    }
}
