//! Runs the claims of a behaviour suite one by one and reports every one that does not hold.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A claim by name, and the check that panics when it does not hold.
pub(crate) type Claim<'a> = (&'a str, Box<dyn Fn() + 'a>);

/// Checks all claims.
///
/// # Panics
/// When any of them panics, naming each that does.
pub(crate) fn check(suite: &str, claims: &[Claim<'_>]) {
    let broken: Vec<&str> = claims
        .iter()
        .filter(|(name, claim)| {
            let outcome = catch_unwind(AssertUnwindSafe(claim));
            if outcome.is_err() {
                eprintln!("{suite}: `{name}` does not hold");
            }
            outcome.is_err()
        })
        .map(|(name, _)| *name)
        .collect();
    assert!(
        broken.is_empty(),
        "{suite}: {} of {} claims do not hold: {}",
        broken.len(),
        claims.len(),
        broken.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_claim_is_named_and_the_others_still_run() {
        let claims: [Claim<'_>; 3] = [
            ("first", Box::new(|| panic!("on purpose"))),
            ("second", Box::new(|| {})),
            ("third", Box::new(|| panic!("on purpose"))),
        ];
        let panic = catch_unwind(AssertUnwindSafe(|| check("suite", &claims))).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert_eq!(message, "suite: 2 of 3 claims do not hold: first, third");
    }
}
